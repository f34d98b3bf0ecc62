"""What a meta-model takes: images, with its preprocessing, or vectors, of one length or of any that a task agrees on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

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

    @property
    def length(self) -> None:
        """Images have none."""
        return None

    def of_length(self, length: int | None) -> "ImageInput":  # noqa: ARG002 - one signature for every kind
        """Give what one task takes: images as they all are."""
        return self

    def covers(self, other: "InputSpecification") -> bool:
        """Whether a task of this meta-model can take this."""
        return self == other

    def padded(self, inputs: Tensor) -> Tensor:
        """Give decoded inputs [N, ...] as the encoder reads them."""
        return inputs

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
    """Lists of finite numbers, as float32 [length].

    Attributes:
        length: of every vector; None where each task decides, all of its vectors alike.
        longest: the most that a task may decide on; None where it has no choice.
    """

    length: int | None
    longest: int | None = None
    kind: Literal["vector"] = "vector"

    def __post_init__(self) -> None:
        """Refuse what no vector fits; raises ValueError."""
        if (self.length is None) == (self.longest is None) or self.lengths.stop < 2:
            raise ValueError(f"expected either a length or a longest one, 1 or more, got {self.length} and {self.longest}")

    @property
    def lengths(self) -> range:
        """The lengths that a vector may have."""
        return range(1, (self.longest or 0) + 1) if self.length is None else range(self.length, self.length + 1)

    @property
    def shape(self) -> tuple[int]:
        """Shape of one input as the encoder reads it."""
        return (self.lengths[-1],)

    def of_length(self, length: int | None) -> "VectorInput":
        """Give what one task takes, whose vectors have that length; None where it is not known."""
        return self if length is None else replace(self, length=length, longest=None)

    def covers(self, other: "InputSpecification") -> bool:
        """Whether a task of this meta-model can take this: vectors of one length, among those that are offered."""
        return isinstance(other, VectorInput) and other.length in self.lengths

    def padded(self, inputs: Tensor) -> Tensor:
        """Give decoded inputs [N, length] as the encoder reads them: zeros behind their own numbers."""
        return F.pad(inputs, (0, self.shape[0] - inputs.shape[1]))

    def decode(self, raw: RawInput, *, max_pixels: int = MAX_PIXELS) -> Tensor:  # noqa: ARG002 - one signature for every kind
        """Check and convert one vector."""
        if isinstance(raw.content, bytes):
            raise WrongInputKindError(f"{raw.name}: expected a vector for this meta-model, got an image; send `vector`", field=raw.name)
        return decode_vector(raw.content, self.lengths, name=raw.name)


InputSpecification = ImageInput | VectorInput
