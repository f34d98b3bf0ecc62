import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest
import torch
from PIL import Image

from service.errors import BadDataError
from service.inputs.images import decode_image
from service.inputs.preprocessing import Preprocessing
from service.training.sources.class_folders import class_folders
from tests.tiny import drawing, png

SMALL = Preprocessing(size=16)
COLOUR = Preprocessing(kind="photo", size=8, channels=3)


def coloured(shape: str) -> bytes:
    return png(Image.merge("RGB", [drawing(shape), drawing(shape), Image.new("L", (48, 48), 255)]))


# Ragged classes, in grey and colour, at different depths.
RAGGED: Mapping[str, bytes] = {
    "set/round/ring/1.png": png(drawing("ring")),
    "set/straight/cross/b.png": png(drawing("cross", width=5)),
    "set/straight/cross/a.png": png(drawing("cross")),
    "set/straight/cross/c.png": coloured("cross"),
    "set/straight/bar/1.png": png(drawing("bar")),
    "set/straight/bar/2.png": coloured("bar"),
}


def folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def packed(root: Path) -> Path:
    return Path(shutil.make_archive(str(root), "zip", root))


@pytest.fixture
def ragged(tmp_path: Path) -> Path:
    return folder(tmp_path / "images", RAGGED)


def assert_refused(path: Path, *said: str, at_least: int = 1) -> None:
    with pytest.raises(BadDataError) as refusal:
        class_folders(path, SMALL, at_least=at_least)
    assert refusal.value.message.startswith(str(path))
    for part in said:
        assert part in refusal.value.message


def test_classes_come_sorted_with_their_images_sorted(ragged: Path) -> None:
    classes = class_folders(ragged, SMALL)
    assert classes.names == ("round/ring", "straight/bar", "straight/cross")
    assert [classes.size(k) for k in range(3)] == [1, 2, 3]
    files = sorted(RAGGED)
    expected = torch.stack([SMALL(decode_image(RAGGED[name], name=name)) for name in files])
    assert files[0].endswith("ring/1.png")
    assert torch.equal(classes.inputs, expected)
    assert classes.inputs.dtype == torch.uint8


@pytest.mark.parametrize("preprocessing", [SMALL, COLOUR], ids=["drawing", "photo"])
def test_a_zip_is_read_as_its_folder(ragged: Path, preprocessing: Preprocessing) -> None:
    from_folder, from_zip = class_folders(ragged, preprocessing), class_folders(packed(ragged), preprocessing)
    assert (from_zip.names, from_zip.first) == (from_folder.names, from_folder.first)
    assert torch.equal(from_zip.inputs, from_folder.inputs)
    assert from_folder.inputs.shape[1:] == (preprocessing.channels, preprocessing.size, preprocessing.size)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["hook", "kite"], ["hook", "kite"]),
        (["set/hook", "set/kite"], ["hook", "kite"]),
        (["a/b/c/hook", "a/b/c/kite"], ["hook", "kite"]),
        (["Greek/character01", "Latin/character01"], ["Greek/character01", "Latin/character01"]),
        (["x/Greek/character01", "x/Latin/character01"], ["Greek/character01", "Latin/character01"]),
        (["hook", "set/kite"], ["hook", "set/kite"]),
        (["a/b", "a-b"], ["a-b", "a/b"]),  # sorted as labels: as paths they come the other way round
        (["only"], ["only"]),
        (["deep/only"], ["only"]),
    ],
)
def test_a_class_is_named_by_what_sets_it_apart(folders: list[str], names: list[str], tmp_path: Path) -> None:
    root = folder(tmp_path / "images", {f"{each}/1.png": png(drawing("ring")) for each in folders})
    assert class_folders(root, SMALL).names == tuple(names)
    assert class_folders(packed(root), SMALL).names == tuple(names)


def test_a_label_may_hold_any_characters(tmp_path: Path) -> None:
    root = folder(tmp_path / "images", {f"{name}/1.png": png(drawing("ring")) for name in ("ж", "日本 語", "a b")})
    assert class_folders(root, SMALL).names == class_folders(packed(root), SMALL).names == ("a b", "ж", "日本 語")


def test_litter_is_no_example(ragged: Path) -> None:
    clean = class_folders(ragged, SMALL)
    folder(ragged, {"set/straight/bar/.DS_Store": b"x", "set/straight/bar/Thumbs.db": b"x", "__MACOSX/set/bar/1.png": b"x"})
    for littered in (class_folders(ragged, SMALL), class_folders(packed(ragged), SMALL)):
        assert littered.names == clean.names
        assert torch.equal(littered.inputs, clean.inputs)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    assert_refused(tmp_path / "absent", "found nothing there", "check the path")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty" / "hook").mkdir(parents=True)
    assert_refused(tmp_path / "empty", "expected images in class folders", "found none")


def test_a_file_that_is_no_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    path.write_bytes(b"not a zip")
    assert_refused(path, "expected a zip")


def test_an_image_outside_any_class_is_named(ragged: Path) -> None:
    folder(ragged, {"stray.png": png(drawing("ring"))})
    assert_refused(ragged, "stray.png", "inside a folder named after its class")


def test_an_image_outside_any_class_can_be_left_out(ragged: Path) -> None:
    clean = class_folders(ragged, SMALL)
    folder(ragged, {"stray.png": b"no image"})
    for path in (ragged, packed(ragged)):
        found = class_folders(path, SMALL, leave_out=[PurePosixPath("stray.png")])
        assert found.names == clean.names
        assert torch.equal(found.inputs, clean.inputs)


def test_files_that_are_no_images_by_their_names_are_passed_over(ragged: Path) -> None:
    clean = class_folders(ragged, SMALL)
    folder(ragged, {"README.txt": b"x", "labels.csv": b"x", "set/straight/bar/NOTES.TXT": b"x", "boxes/1.xml": b"x"})
    for path in (ragged, packed(ragged)):
        found = class_folders(path, SMALL)
        assert found.names == clean.names
        assert torch.equal(found.inputs, clean.inputs)
    # As configurations say that were chosen when such files were left out one by one.
    assert class_folders(ragged, SMALL, leave_out=[PurePosixPath("set/straight/bar/NOTES.TXT")]).names == clean.names
    with pytest.raises(BadDataError, match=r"found no absent\.png; correct `leave_out`"):
        class_folders(ragged, SMALL, leave_out=[PurePosixPath("absent.png")])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (png(drawing("bar"))[:80], "damaged"),
        (b"", "zero-byte"),
        (b"words", "something else"),
        (png(Image.new("L", (48, 48), 255)), "blank"),
    ],
    ids=["cut short", "empty", "not an image", "blank"],
)
def test_an_image_that_cannot_be_used_is_named_by_its_path(content: bytes, said: str, ragged: Path) -> None:
    folder(ragged, {"set/straight/bar/3.png": content})
    for path in (ragged, packed(ragged)):
        assert_refused(path, f"{path / 'set/straight/bar/3.png'}: ", said)


def test_a_class_with_too_few_images_is_named_with_how_many_are_needed(ragged: Path) -> None:
    assert_refused(ragged, "at least 3 images of every class, got 1 of 'round/ring' (2 classes have too few)", at_least=3)
    assert len(class_folders(ragged, SMALL, at_least=1)) == 3


def test_a_damaged_zip_member_is_named(ragged: Path) -> None:
    path, member = packed(ragged), b"set/straight/bar/1.png"
    content = bytearray(path.read_bytes())
    # The name stands first in the member's own header, right before its data.
    content[content.find(member) + len(member) + 20] ^= 0xFF
    path.write_bytes(content)
    assert_refused(path, member.decode())
