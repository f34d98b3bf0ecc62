"""What a meta-model takes: images, with its preprocessing, or vectors of one length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from service.errors import BlankImageError, WrongInputKindError
from service.inputs.images import MAX_PIXELS, decode_image
from service.inputs.preprocessing import Preprocessing
from service.inputs.vectors import decode_vector


@dataclass(frozen=True, slots=True)
class RawInput:
    """One input as it came: the bytes of an image file or a list of numbers, and what to call it in an error."""

    name: str
    content: bytes | Sequence[float]


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Image files, brought to uint8 [channels, size, size] one by one."""

    preprocessing: Preprocessing
    kind: Literal["image"] = "image"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one decoded input."""
        return (self.preprocessing.channels, self.preprocessing.size, self.preprocessing.size)

    def decode(self, raw: RawInput, *, max_pixels: int = MAX_PIXELS) -> Tensor:
        """Decode and preprocess one image; the errors are those of `decode_image` and of a blank drawing."""
        if not isinstance(raw.content, bytes):
            raise WrongInputKindError(f"{raw.name}: expected an image for this meta-model, got a vector; send `image`", field=raw.name)
        try:
            return self.preprocessing(decode_image(raw.content, name=raw.name, max_pixels=max_pixels))
        except BlankImageError as error:
            raise BlankImageError(f"{raw.name}: {error.message}", field=raw.name) from None


@dataclass(frozen=True, slots=True)
class VectorInput:
    """Lists of `length` finite numbers, as float32 [length]."""

    length: int
    kind: Literal["vector"] = "vector"

    @property
    def shape(self) -> tuple[int]:
        """Shape of one decoded input."""
        return (self.length,)

    def decode(self, raw: RawInput, *, max_pixels: int = MAX_PIXELS) -> Tensor:  # noqa: ARG002 - one signature for every kind
        """Check and convert one vector."""
        if isinstance(raw.content, bytes):
            raise WrongInputKindError(f"{raw.name}: expected a vector for this meta-model, got an image; send `vector`", field=raw.name)
        return decode_vector(raw.content, self.length, name=raw.name)


InputSpecification = ImageInput | VectorInput
