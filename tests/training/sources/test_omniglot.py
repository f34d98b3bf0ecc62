import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torchvision.datasets

from service.errors import BadDataError
from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs
from service.training.sources.omniglot import SPLITS, omniglot
from tests.tiny import drawing, png

SMALL = Preprocessing(size=16)
# The splits are about names: whole pictures, shrunk to little, load several times faster than drawings cropped to their ink.
TINY = Preprocessing(kind="photo", size=4)

HELD_OUT = {"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"}

Parts = Mapping[str, ClassInputs]


def alphabets(classes: ClassInputs) -> set[str]:
    return {name.split("/")[0] for name in classes.names}


@pytest.fixture(scope="module")
def background_split(data_root: Path) -> Parts:
    """All 32,460 images, loaded once."""
    return omniglot(data_root, TINY, split="background")


@pytest.fixture(scope="module")
def vinyals_split(background_split: Parts) -> Parts:
    """The other split of the same classes, put together again in the order in which they are read."""
    background = joined(background_split["train"], background_split["validation"])
    return SPLITS["vinyals"](background, background_split["test"])


def joined(*parts: ClassInputs) -> ClassInputs:
    groups = [(name, part.inputs[part.first[k] : part.first[k + 1]]) for part in parts for k, name in enumerate(part.names)]
    return ClassInputs.of(sorted(groups, key=lambda group: group[0]))


@pytest.mark.data
@pytest.mark.slow
def test_the_background_split_tests_on_alphabets_never_trained_or_validated_on(background_split: Parts) -> None:
    assert {part: len(classes) for part, classes in background_split.items()} == {"train": 792, "validation": 172, "test": 659}
    train, validation, test = (alphabets(background_split[part]) for part in ("train", "validation", "test"))
    assert (len(train), validation, len(test)) == (25, HELD_OUT, 20)
    assert not train & validation
    assert not (train | validation) & test


@pytest.mark.data
@pytest.mark.slow
def test_every_character_has_twenty_drawings(background_split: Parts) -> None:
    assert {classes.size(k) for classes in background_split.values() for k in range(len(classes))} == {20}
    assert sum(len(classes.inputs) for classes in background_split.values()) == 32_460


@pytest.mark.data
@pytest.mark.slow
def test_the_vinyals_split_is_the_published_one(vinyals_split: Parts, data_root: Path) -> None:
    assert {part: len(classes) for part, classes in vinyals_split.items()} == {"train": 1028, "validation": 172, "test": 423}
    for part, file in (("train", "train.txt"), ("validation", "val.txt"), ("test", "test.txt")):
        listed = (data_root / "omniglot" / "vinyals_split" / file).read_text(encoding="utf-8").split()
        assert set(vinyals_split[part].names) == set(listed)
        assert len(listed) == len(vinyals_split[part].names)


@pytest.mark.data
@pytest.mark.slow
def test_a_class_keeps_its_images_in_both_splits(background_split: Parts, vinyals_split: Parts) -> None:
    def images(parts: Parts, name: str) -> torch.Tensor:
        part, k = next((part, part.names.index(name)) for part in parts.values() if name in part.names)
        return part.inputs[part.first[k] : part.first[k + 1]]

    for name in ("Greek/character03", "Hebrew/character10", "Gurmukhi/character42", "Tengwar/character25"):
        assert torch.equal(images(vinyals_split, name), images(background_split, name))
        assert len(set(images(vinyals_split, name).flatten().tolist())) > 1


def small_part(path: Path, *, characters: int = 2, drawings: int = 20) -> Path:
    """A zip laid out like a part of Omniglot, of a few characters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for character in range(characters):
            for number in range(drawings):
                name = f"{path.stem}/Greek/character{character + 1:02}/{number + 1:02}.png"
                archive.writestr(name, png(drawing("ring", width=2 + character)))
    return path


@pytest.mark.parametrize("place", ["", "omniglot", "omniglot-py"])
def test_a_part_is_found_in_its_usual_places_and_named_when_characters_are_missing(place: str, tmp_path: Path) -> None:
    path = small_part(tmp_path / place / "images_background.zip")
    with pytest.raises(BadDataError, match=f"{path}: expected 964 characters, got 2; fetch Omniglot again"):
        omniglot(tmp_path, SMALL, split="background")


def test_an_unpacked_part_is_found_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(small_part(tmp_path / "packed" / "images_background.zip")) as archive:
        archive.extractall(tmp_path)
    with pytest.raises(BadDataError, match=f"{tmp_path}/images_background: expected 964 characters, got 2"):
        omniglot(tmp_path, SMALL, split="background")


def test_missing_drawings_are_named(tmp_path: Path) -> None:
    path = small_part(tmp_path / "images_background.zip", drawings=19)
    with pytest.raises(BadDataError, match=f"{path}: expected at least 20 images of every class, got 19 of 'character01'"):
        omniglot(tmp_path, SMALL, split="background")


def test_a_missing_part_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match=f"{tmp_path}: expected Omniglot's images_background.zip .*--data-root.*--download"):
        omniglot(tmp_path, SMALL, split="background")


def test_an_unknown_split_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match=r"\['background', 'vinyals'\], got 'lake'"):
        omniglot(tmp_path, SMALL, split="lake")


class Torchvision:
    """Stands for torchvision's Omniglot: puts a small part where the real one would."""

    def __init__(self, root: str, *, background: bool, download: bool) -> None:
        assert background
        assert download
        small_part(Path(root) / "omniglot-py" / "images_background.zip")


class Offline:
    """Stands for torchvision's Omniglot where there is no network."""

    def __init__(self, *_: object, **__: object) -> None:
        raise OSError("no route to host")


def test_a_missing_part_is_fetched_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "Omniglot", Torchvision)
    with pytest.raises(BadDataError, match=f"{tmp_path}/omniglot-py/images_background.zip: expected 964 characters, got 2"):
        omniglot(tmp_path, SMALL, split="background", download=True)


def test_a_failed_download_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "Omniglot", Offline)
    with pytest.raises(BadDataError, match="could not fetch Omniglot \\(no route to host\\); download it by hand and use --data-root"):
        omniglot(tmp_path, SMALL, split="background", download=True)
