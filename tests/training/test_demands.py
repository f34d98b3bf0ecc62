import pytest
import torch

from service.errors import BadDataError
from service.learner.episodes import ClassInputs
from service.training.demands import require_enough
from tests.training.runs import tiny_options

# What the tiny configuration needs at most: 6 ways of 1 + 2, 4 ways of 3 + 2; 4 ways of 1 + 2; 3 ways of 1 + 2.
ENOUGH = {"train": [5] * 6, "validation": [3] * 4, "test": [3] * 3}


def data(**sizes: list[int]) -> dict[str, ClassInputs]:
    return {
        part: ClassInputs.of([(f"{part}{k}", torch.zeros(size, 1)) for k, size in enumerate(each)])
        for part, each in {**ENOUGH, **sizes}.items()
    }


def test_just_enough_is_enough() -> None:
    require_enough(tiny_options(), data())


@pytest.mark.parametrize(
    ("part", "sizes", "says"),
    [
        ("train", [5] * 5, r"\[\[stages\]\] 1 .* 6 train classes, got 5"),
        ("train", [5, 5, 4, 5, 5, 5], r"\[\[stages\]\] 2 .* 5 images of every train class \(3 shots and 2 queries\), got 4 of 'train2'"),
        ("validation", [3] * 3, r"\[validation\] .* 4 validation classes, got 3"),
        ("validation", [3, 3, 3, 2], r"\[validation\] .* 3 images of every validation class .* got 2 of 'validation3'"),
        ("test", [3] * 2, r"\[final\] .* 3 test classes, got 2"),
        ("test", [2, 3, 3], r"\[final\] .* 3 images of every test class .* got 2 of 'test0'"),
    ],
)
def test_too_few_name_the_table_the_part_and_the_class(part: str, sizes: list[int], says: str) -> None:
    with pytest.raises(BadDataError, match=says):
        require_enough(tiny_options(), data(**{part: sizes}))


def test_a_larger_way_of_the_final_table_may_be_left_out() -> None:
    require_enough(tiny_options(final={"ways": [3, 20], "shots": [1], "queries": 2}), data())
    with pytest.raises(BadDataError, match="6 images of every test class"):
        require_enough(tiny_options(final={"ways": [3], "shots": [1, 4], "queries": 2}), data())


def in_alphabets(classes: ClassInputs, *sizes: int) -> ClassInputs:
    """The same classes, the first so many in one alphabet, the next in another."""
    alphabets = [alphabet for alphabet, size in enumerate(sizes) for _ in range(size)]
    return ClassInputs(
        tuple(f"{alphabet}/{name}" for alphabet, name in zip(alphabets, classes.names, strict=True)), classes.inputs, classes.first
    )


def test_groups_must_lend_enough_classes() -> None:
    options = tiny_options(stages=[{"steps": 1, "way": [3, 6], "queries": 2, "group": 2}])
    train = data()["train"]
    require_enough(options, {**data(), "train": in_alphabets(train, 2, 2, 2)})
    with pytest.raises(BadDataError, match=r"6 train classes, at most 2 from one group; the groups lend 5"):
        require_enough(options, {**data(), "train": in_alphabets(train, 1, 2, 3)})
