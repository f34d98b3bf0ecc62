import json
from pathlib import Path, PurePosixPath

import pytest
import torch

from service.errors import BadConfigError, BadDataError
from service.inputs.preprocessing import Preprocessing
from service.training.options import FolderData, GlyphData, OmniglotData
from service.training.sources.load import load_data
from tests.tiny import SHAPES, drawing, png

SMALL = Preprocessing(size=16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten class folders of two images each."""
    for index in range(10):
        for width in (2, 4):
            path = tmp_path / "images" / f"class{index}" / f"{width}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(drawing(SHAPES[index % 5], width=width)))
    return tmp_path / "images"


def test_glyphs_are_drawn_from_a_seed_for_each_part() -> None:
    parts = load_data(GlyphData(source="glyphs", classes=10, drawings=2, rotations=False), SMALL, data_root=None)
    assert {part: len(classes) for part, classes in parts.items()} == {"train": 10, "validation": 150, "test": 150}
    names = [name for classes in parts.values() for name in classes.names]
    assert len(set(names)) == len(names)


def test_only_training_classes_are_rotated() -> None:
    upright, rotated = (
        load_data(GlyphData(source="glyphs", classes=10, drawings=2, rotations=rotations), SMALL, data_root=None)
        for rotations in (False, True)
    )
    assert {part: len(classes) for part, classes in rotated.items()} == {"train": 40, "validation": 150, "test": 150}
    assert torch.equal(rotated["train"].inputs[:20], upright["train"].inputs)
    assert torch.equal(rotated["test"].inputs, upright["test"].inputs)


def test_only_training_classes_are_mirrored_and_kept_larger() -> None:
    plain, changed = (
        load_data(GlyphData(source="glyphs", classes=10, drawings=2, **options), SMALL, data_root=None)
        for options in ({"rotations": False}, {"reflections": True, "oversample": 2})
    )
    assert {part: tuple(classes.inputs.shape) for part, classes in changed.items()} == {
        "train": (160, 1, 32, 32),
        "validation": (300, 1, 16, 16),
        "test": (300, 1, 16, 16),
    }
    assert changed["train"].names[-1].startswith("mirrored/turned 270/")
    assert torch.equal(changed["test"].inputs, plain["test"].inputs)
    reduced = torch.nn.functional.avg_pool2d(changed["train"].inputs[:20].float(), 2)
    assert (reduced - plain["train"].inputs.float()).abs().mean() < 12  # the same drawings


@pytest.mark.parametrize(("share", "sizes"), [(0.2, [6, 2, 2]), (0.3, [4, 3, 3]), (0.01, [6, 2, 2])])
def test_a_folder_is_split_into_parts_that_share_no_class(share: float, sizes: list[int], folder: Path) -> None:
    data = FolderData(source="folder", path=folder, validation_share=share, test_share=share)
    parts = load_data(data, SMALL, data_root=None)
    names = [name for part in ("train", "validation", "test") for name in parts[part].names]
    assert sorted(names) == [f"class{index}" for index in range(10)]
    assert [len(parts[part]) for part in ("train", "validation", "test")] == sizes


def test_a_folder_is_split_the_same_every_time(folder: Path) -> None:
    data = FolderData(source="folder", path=folder)
    first, again = (load_data(data, SMALL, data_root=None) for _ in range(2))
    assert {part: classes.names for part, classes in first.items()} == {part: classes.names for part, classes in again.items()}


def test_a_folder_of_too_few_classes_or_images_is_refused_by_its_path(folder: Path) -> None:
    (folder / "class7" / "2.png").unlink()
    with pytest.raises(BadDataError, match=f"{folder}: expected at least 2 images of every class, got 1 of 'class7'"):
        load_data(FolderData(source="folder", path=folder), SMALL, data_root=None)
    for index in range(5, 10):
        for path in (folder / f"class{index}").iterdir():
            path.unlink()
    with pytest.raises(BadDataError, match=r"expected at least 6 classes .* got 5"):
        load_data(FolderData(source="folder", path=folder), SMALL, data_root=None)


def test_a_folder_is_split_as_a_file_says_both_below_the_data_root(folder: Path) -> None:
    parts = {"train": ["class5", "class1"], "val": ["class0", "class9"], "test": ["class2", "class3"]}
    (folder.parent / "splits.json").write_text(json.dumps(parts), encoding="utf-8")
    loaded = load_data(FolderData(source="folder", path=Path("images"), split=Path("splits.json")), SMALL, data_root=folder.parent)
    assert [loaded[part].names for part in ("train", "validation", "test")] == [tuple(names) for names in parts.values()]


def test_only_classes_that_a_split_file_names_need_enough_images(folder: Path) -> None:
    parts = {"train": ["class5", "class1"], "val": ["class0", "class9"], "test": ["class2", "class3"]}
    (folder.parent / "splits.json").write_text(json.dumps(parts), encoding="utf-8")
    data = FolderData(source="folder", path=folder, split=folder.parent / "splits.json")
    (folder / "class7" / "2.png").unlink()
    load_data(data, SMALL, data_root=None)
    (folder / "class5" / "2.png").unlink()
    with pytest.raises(BadDataError, match="expected at least 2 images of every class, got 1 of 'class5'"):
        load_data(data, SMALL, data_root=None)


def test_a_class_of_the_split_file_that_is_not_there_is_named(folder: Path) -> None:
    parts = {"train": ["class5", "class1"], "val": ["class0", "class9"], "test": ["class2", "hammer"]}
    (folder.parent / "splits.json").write_text(json.dumps(parts), encoding="utf-8")
    with pytest.raises(BadDataError, match=rf"{folder}: expected images of every class of .*splits.json, found none of hammer"):
        load_data(FolderData(source="folder", path=folder, split=folder.parent / "splits.json"), SMALL, data_root=None)


def test_images_to_leave_out_are_not_read(folder: Path) -> None:
    (folder / "class3" / "3.png").write_bytes(b"damaged")
    with pytest.raises(BadDataError, match=r"3\.png"):
        load_data(FolderData(source="folder", path=folder), SMALL, data_root=None)
    parts = load_data(FolderData(source="folder", path=folder, leave_out=(PurePosixPath("class3/3.png"),)), SMALL, data_root=None)
    assert sum(len(classes.inputs) for classes in parts.values()) == 20
    (folder / "class3" / "3.png").unlink()
    with pytest.raises(BadDataError, match=r"found no class3/3\.png; correct `leave_out`"):
        load_data(FolderData(source="folder", path=folder, leave_out=(PurePosixPath("class3/3.png"),)), SMALL, data_root=None)


def test_omniglot_needs_to_be_told_where_it_lies() -> None:
    with pytest.raises(BadConfigError, match="--data-root"):
        load_data(OmniglotData(source="omniglot"), SMALL, data_root=None)
