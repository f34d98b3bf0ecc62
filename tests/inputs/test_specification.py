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


@pytest.mark.parametrize("takes", [DRAWINGS, ImageInput(Preprocessing("photo", size=17, channels=3)), VectorInput(5)])
def test_the_stated_shape_is_that_of_a_decoded_input(takes: InputSpecification) -> None:
    content: bytes | list[float] = [0.0] * 5 if isinstance(takes, VectorInput) else png(drawing("ring"))
    assert takes.decode(RawInput("a", content)).shape == takes.shape
