from pathlib import Path, PurePosixPath
from shutil import make_archive

import pytest
from PIL import Image

from service.errors import BadDataError
from service.training.sources.survey import survey
from tests.training.pictures import drawings, scenes


def test_coloured_pictures_are_counted_measured_and_seen_as_colour(tmp_path: Path) -> None:
    seen = survey(scenes(tmp_path / "scenes", classes=3, images=2))
    assert seen.classes == {"kind 0": 2, "kind 1": 2, "kind 2": 2}
    assert (seen.side, seen.colour, seen.drawings, seen.damaged) == (48, True, False, {})


def test_line_drawings_are_seen_as_drawings_without_colour(tmp_path: Path) -> None:
    seen = survey(drawings(tmp_path / "drawings"))
    assert (seen.side, seen.colour, seen.drawings) == (48, False, True)


def test_drawings_on_transparent_paper_and_inverted_ones_are_drawings_too(tmp_path: Path) -> None:
    root = drawings(tmp_path / "drawings", classes=2)
    for path in (root / "sign0").iterdir():
        ink = Image.open(path).convert("L").point(lambda value: 255 - value)
        clear = Image.new("RGBA", ink.size, (0, 0, 0, 0))
        clear.putalpha(ink)
        clear.save(path)
    for path in (root / "sign1").iterdir():
        Image.open(path).convert("L").point(lambda value: 255 - value).save(path)
    assert survey(root).drawings


def test_grey_photographs_are_neither(tmp_path: Path) -> None:
    root = scenes(tmp_path / "scenes", classes=2, images=3)
    for path in root.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    seen = survey(root)
    assert (seen.colour, seen.drawings) == (False, False)


def test_one_coloured_picture_in_ten_makes_no_colour_and_two_do(tmp_path: Path) -> None:
    root = drawings(tmp_path / "images", classes=5, images=4)
    for number in range(2):
        Image.new("RGB", (48, 48), "red").save(root / f"sign{number}" / "0.png")
    assert not survey(root).colour
    Image.new("RGB", (48, 48), "red").save(root / "sign2" / "0.png")
    assert survey(root).colour


def test_damaged_images_are_named_and_not_counted(tmp_path: Path) -> None:
    root = scenes(tmp_path / "scenes", classes=2, images=3)
    whole = (root / "kind 1" / "2.png").read_bytes()
    (root / "kind 1" / "2.png").write_bytes(whole[: len(whole) // 2])
    (root / "kind 0" / "notes.png").write_text("no image")
    seen = survey(root)
    assert seen.classes == {"kind 0": 3, "kind 1": 2}
    assert list(seen.damaged) == [PurePosixPath("kind 0/notes.png"), PurePosixPath("kind 1/2.png")]
    assert "got 8 bytes of something else" in seen.damaged[PurePosixPath("kind 0/notes.png")]


def test_images_in_no_class_are_named_and_other_files_are_passed_over(tmp_path: Path) -> None:
    root = scenes(tmp_path / "scenes", classes=2, images=3)
    plain = survey(root)
    (root / "stray.png").write_bytes((root / "kind 1" / "2.png").read_bytes())
    (root / "README.md").write_text("no image")
    (root / "kind 0" / "notes.txt").write_text("no image")
    seen = survey(root)
    assert seen.stray == (PurePosixPath("stray.png"),)
    assert (seen.classes, seen.damaged, seen.side) == (plain.classes, {}, plain.side)
    assert survey(Path(make_archive(str(root), "zip", root))) == seen


def test_a_zip_is_seen_as_its_folder(tmp_path: Path) -> None:
    root = scenes(tmp_path / "scenes", classes=2, images=2)
    assert survey(Path(make_archive(str(root), "zip", root))) == survey(root)


def test_nothing_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="found nothing there"):
        survey(tmp_path / "absent")
