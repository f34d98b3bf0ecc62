import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import BadDataError
from service.training.sources.split_file import read_split, spread

SPLIT = {"train": ["h", "a"], "val": ["b", "c"], "test": ["d", "e", "f"]}


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "splits.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_every_part_has_the_classes_that_the_file_names_in_its_order(tmp_path: Path) -> None:
    split = read_split(written(tmp_path, {"note": "by hand", **SPLIT}))
    assert split.parts() == {"train": ("h", "a"), "validation": ("b", "c"), "test": ("d", "e", "f")}
    assert split.classes() == frozenset("abcdefh")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "the whole file: "),
        ([1], "the whole file: "),
        ({"train": ["a", "b"], "val": ["c", "d"]}, "test: Field required"),
        ({**SPLIT, "extra": []}, "extra: "),
        ({**SPLIT, "val": ["b"]}, "val: .*at least 2"),
        ({**SPLIT, "val": ["b", "a"]}, "expected every class in one part only, got 'a' twice"),
    ],
)
def test_a_split_that_cannot_be_followed_is_refused_by_its_path(content: Any, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(BadDataError, match=rf"{path}: {said}"):
        read_split(path)


def test_a_missing_split_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match=r"absent\.json: the split file cannot be read"):
        read_split(tmp_path / "absent.json")


@pytest.mark.parametrize(("count", "sizes"), [(6, (2, 2, 2)), (10, (6, 2, 2)), (100, (70, 15, 15))])
def test_classes_are_spread_over_parts_that_share_none(count: int, sizes: tuple[int, int, int]) -> None:
    names = [f"{index:03d}" for index in range(count)]
    split = spread(names, validation_share=0.15, test_share=0.15)
    assert (len(split.train), len(split.val), len(split.test)) == sizes
    assert sorted((*split.train, *split.val, *split.test)) == names
    assert spread(names, validation_share=0.15, test_share=0.15) == split


def test_five_classes_cannot_be_split() -> None:
    with pytest.raises(BadDataError, match=r"expected at least 6 classes .* got 5; add classes"):
        spread("abcde", validation_share=0.15, test_share=0.15)
