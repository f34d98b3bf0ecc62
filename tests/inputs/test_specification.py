import pytest
import torch
from PIL import Image

from service.errors import BlankImageError, TooLargeError, UnusableVectorError, WrongInputKindError
from service.inputs.preprocessing import Preprocessing
from service.inputs.specification import ImageInput, InputSpecification, RawInput, VectorInput
from tests.tiny import drawing, png

DRAWINGS = ImageInput(Preprocessing())


def test_an_image_file_is_decoded_and_preprocessed() -> None:
    assert torch.equal(DRAWINGS.decode(RawInput("a", png(drawing("ring")))), Preprocessing()(drawing("ring")))


def test_a_list_of_numbers_is_a_vector() -> None:
    assert VectorInput(2).decode(RawInput("a", [1, 2.5])).tolist() == [1, 2.5]


def test_a_blank_image_is_refused_by_name() -> None:
    with pytest.raises(BlankImageError, match=r"^queries/2: expected a drawing, got a blank image") as caught:
        DRAWINGS.decode(RawInput("queries/2", png(Image.new("L", (9, 9), 255))))
    assert caught.value.field == "queries/2"


def test_the_limit_on_pixels_is_passed_on() -> None:
    with pytest.raises(TooLargeError, match="at most 2,303 pixels"):
        DRAWINGS.decode(RawInput("a", png(drawing("ring"))), max_pixels=48 * 48 - 1)


@pytest.mark.parametrize(
    ("takes", "content", "words"),
    [(DRAWINGS, [1.0, 2.0], "expected an image .* got a vector"), (VectorInput(2), b"bytes", "expected a vector .* got an image")],
)
def test_the_other_kind_of_input_is_refused_by_name(takes: InputSpecification, content: bytes | list[float], words: str) -> None:
    with pytest.raises(WrongInputKindError, match=f"^a: {words}") as caught:
        takes.decode(RawInput("a", content))
    assert caught.value.field == "a"


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(UnusableVectorError):
        VectorInput(3).decode(RawInput("a", [1.0, 2.0]))


ANY_UP_TO_6 = VectorInput(None, longest=6)


@pytest.mark.parametrize("numbers", [[], [0.0] * 7])
def test_a_vector_longer_than_any_task_may_have_is_refused_and_an_empty_one_too(numbers: list[float]) -> None:
    with pytest.raises(UnusableVectorError, match=f"^a: expected 1 to 6 numbers, got {len(numbers)}$"):
        ANY_UP_TO_6.decode(RawInput("a", numbers))


def test_a_task_decides_on_the_length_of_its_vectors() -> None:
    assert ANY_UP_TO_6.decode(RawInput("a", [1.0, 2.0])).tolist() == [1, 2]
    task = ANY_UP_TO_6.of_length(2)
    assert task.decode(RawInput("a", [3.0, 4.0])).tolist() == [3, 4]
    with pytest.raises(UnusableVectorError, match=r"^a: expected 2 numbers, got 3$"):
        task.decode(RawInput("a", [1.0, 2.0, 3.0]))
    assert ANY_UP_TO_6.of_length(None) == ANY_UP_TO_6


def test_short_vectors_reach_the_encoder_with_zeros_behind_them() -> None:
    assert ANY_UP_TO_6.padded(torch.ones(2, 4)).tolist() == [[1, 1, 1, 1, 0, 0]] * 2
    assert VectorInput(4).padded(torch.ones(2, 4)).tolist() == [[1, 1, 1, 1]] * 2


def test_a_meta_model_covers_what_its_tasks_may_decide_on() -> None:
    assert ANY_UP_TO_6.covers(VectorInput(6))
    assert VectorInput(3).covers(VectorInput(3))
    for other in (VectorInput(7), ANY_UP_TO_6, DRAWINGS):
        assert not ANY_UP_TO_6.covers(other)
    assert not VectorInput(3).covers(VectorInput(2))
    assert not DRAWINGS.covers(VectorInput(2))


@pytest.mark.parametrize(("length", "longest"), [(None, None), (2, 3), (0, None), (None, 0)])
def test_a_length_that_says_nothing_is_refused(length: int | None, longest: int | None) -> None:
    with pytest.raises(ValueError, match="expected either a length or a longest one"):
        VectorInput(length, longest)


@pytest.mark.parametrize("takes", [DRAWINGS, ImageInput(Preprocessing("photo", size=17, channels=3)), VectorInput(5)])
def test_the_stated_shape_is_that_of_a_decoded_input(takes: InputSpecification) -> None:
    content: bytes | list[float] = [0.0] * 5 if isinstance(takes, VectorInput) else png(drawing("ring"))
    assert takes.decode(RawInput("a", content)).shape == takes.shape
