from pathlib import Path

import pytest
import torch

from service.errors import BlankImageError, DeadlineError, TooLargeError, UnusableSupportError
from service.inputs.preprocessing import Preprocessing
from service.inputs.specification import ImageInput, RawInput
from service.learner.recipe import Recipe
from service.registry.read import read
from service.runtime.caller import Caller
from service.runtime.catalog import Served
from service.runtime.limits import Limits
from service.runtime.support_set import Classes, as_task, classes_of, decode_inputs
from tests.runtime.tasks import GROUPS
from tests.tiny import SHAPES, drawing, png, tiny_model, write_tiny

LIMITS = Limits(examples=8, classes=4)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    stored = read(write_tiny(tmp_path))
    return Served(stored.manifest, stored.model)


def test_classes_are_sorted_with_their_shots(served: Served) -> None:
    assert classes_of(["b", "a", "B", "b", "10", "b"], served, LIMITS) == Classes(("10", "B", "a", "b"), (1, 1, 1, 3))


def test_the_order_of_examples_does_not_change_the_classes(served: Served) -> None:
    assert classes_of(["c", "a", "b", "a"], served, LIMITS) == classes_of(["a", "a", "b", "c"], served, LIMITS)


def test_labels_differ_by_every_character(served: Served) -> None:
    assert classes_of(["a", "A", "a ", "á"], served, LIMITS).labels == ("A", "a", "a ", "á")


def test_no_examples_are_refused(served: Served) -> None:
    with pytest.raises(UnusableSupportError, match="at least two classes, got none") as caught:
        classes_of([], served, LIMITS)
    assert caught.value.field == "support"


def test_one_class_is_refused_by_name(served: Served) -> None:
    with pytest.raises(UnusableSupportError, match="got only 'cat'; add another class"):
        classes_of(["cat", "cat"], served, LIMITS)


def test_limits_are_reached_and_not_passed(served: Served) -> None:
    assert len(classes_of([*"abcdabcd"], served, LIMITS).labels) == 4
    with pytest.raises(TooLargeError, match="at most 8 examples of 4 classes, got 9 of 4"):
        classes_of([*"abcdabcda"], served, LIMITS)
    with pytest.raises(TooLargeError, match="at most 8 examples of 4 classes, got 5 of 5"):
        classes_of([*"abcde"], served, LIMITS)


@pytest.mark.parametrize("labels", ["ab", "abcd"])
def test_a_head_for_one_way_refuses_another(tmp_path: Path, labels: str) -> None:
    recipe = Recipe(scope="all", head="per_class", way=3)
    stored = read(write_tiny(tmp_path, model=tiny_model(GROUPS, recipe)))
    served = Served(stored.manifest, stored.model)
    assert classes_of([*"abc"], served, LIMITS).shots == (1, 1, 1)
    with pytest.raises(UnusableSupportError, match=f"tiny@1 has a head for exactly 3 classes, got {len(labels)}"):
        classes_of(labels, served, LIMITS)


def test_inputs_are_decoded_in_order() -> None:
    raws = [RawInput(shape, png(drawing(shape))) for shape in SHAPES]
    decoded = decode_inputs(raws, ImageInput(Preprocessing()), LIMITS)
    assert torch.equal(decoded, torch.stack([Preprocessing()(drawing(shape)) for shape in SHAPES]))


def test_labels_become_rows_of_the_sorted_classes() -> None:
    numbers = {"b": [1.0, 2.0], "a": [3.0, 4.0], "c": [5.0, 6.0]}
    inputs = torch.tensor([numbers[label] for label in "bacab"])
    support = as_task(inputs, "bacab", Classes(("a", "b", "c"), (2, 2, 1)))
    assert support.labels.tolist() == [0, 0, 1, 1, 2]
    assert support.inputs.tolist() == [numbers[label] for label in "aabbc"]
    assert support.way == 3


def test_the_order_of_examples_does_not_change_the_support_set() -> None:
    inputs, classes = torch.tensor([[float(number), -1.0] for number in range(5)]), Classes(("a", "b"), (2, 3))
    one, other = as_task(inputs, "babab", classes), as_task(inputs.flip(0), "babab"[::-1], classes)
    assert torch.equal(one.inputs, other.inputs)
    assert torch.equal(one.labels, other.labels)


def test_the_first_example_that_cannot_be_used_is_named() -> None:
    blank = png(drawing("nothing"))
    raws = [RawInput("support/0", png(drawing("ring"))), RawInput("support/1", blank), RawInput("support/2", blank)]
    with pytest.raises(BlankImageError, match=r"^support/1: "):
        decode_inputs(raws, ImageInput(Preprocessing()), LIMITS)


def test_nothing_more_is_decoded_once_the_caller_has_stopped_waiting() -> None:
    raws, asked = [RawInput("a", png(drawing("ring"))), RawInput("b", png(drawing("nothing")))], iter([Caller("ann"), Caller("ann", 0.0)])
    with pytest.raises(DeadlineError, match="Request-Timeout-Ms"):
        decode_inputs(raws, ImageInput(Preprocessing()), LIMITS, before_each=lambda: next(asked).require_time())


def test_the_limit_on_pixels_holds_for_examples() -> None:
    with pytest.raises(TooLargeError, match="at most 100 pixels"):
        decode_inputs([RawInput("a", png(drawing("ring")))], ImageInput(Preprocessing()), Limits(image_pixels=100))
