"""The preprocessing recipe of a meta-model: one decoded image → the uint8 tensor its encoder reads.

Every step looks at one image alone, never at a set, so a prediction cannot depend on its neighbours.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from service.errors import BlankImageError

Pixels = NDArray[np.uint8]

# Ink must differ from the paper by this much (of 255): less is the noise of a scan or of JPEG.
FAINTEST_INK = 24

# A longer drawing is halved, or more, before it is put into a square: 16 million pixels in a row would need 300 TB.
LONGEST_INK = 4096


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a meta-model wants its images.

    Attributes:
        kind: `drawing` finds the ink and crops to it; `photo` squashes the whole picture.
        size: side of the square that comes out, in pixels.
        channels: 1 grey, 3 colour.
        margin: paper left around a drawing's ink on each side, as a share of the ink's longer side.
    """

    kind: Literal["drawing", "photo"] = "drawing"
    size: int = 28
    channels: Literal[1, 3] = 1
    margin: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what leaves no picture; raises ValueError."""
        if self.size < 1 or not 0 <= self.margin <= 10:
            raise ValueError(f"expected a size of at least 1 and a margin of 0 to 10, got {self.size} and {self.margin}")

    def __call__(self, image: Image.Image) -> Tensor:
        """Give the image as the encoder reads it: [channels, size, size] uint8.

        Of a drawing the paper is 0 and the strongest ink 255, whatever the colours were: inverted, coloured and
        transparent versions of it give the same tensor.

        Raises:
            BlankImageError: nothing in a drawing differs from its border.
        """
        if self.kind == "photo":
            return _photo(image, self.size, self.channels)
        square = _square_around(_ink(image), self.margin)
        return torch.tensor(_stretch(_scaled(square, self.size))).repeat(self.channels, 1, 1)


def _photo(image: Image.Image, size: int, channels: int) -> Tensor:
    picture = image.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.LANCZOS)
    return torch.tensor(np.asarray(picture).reshape(size, size, channels)).permute(2, 0, 1).contiguous()


def _ink(image: Image.Image) -> Pixels:
    """Find the ink: [H, W] uint8, 0 paper to 255 the strongest. It is what disagrees with the border's median."""
    if image.mode in ("1", "L"):
        return _visible(_distance_to_border(np.asarray(image.convert("L"))[:, :, None]))
    pixels = np.asarray(image.convert("RGBA"))
    colour, alpha = pixels[:, :, :3], pixels[:, :, 3:]
    if (alpha == 255).all():
        return _visible(_distance_to_border(colour))
    # Transparent pixels have no colour of their own; one colour throughout means that alpha draws.
    visible = colour[alpha[:, :, 0] > 0]
    if len(visible) == 0 or (visible == visible[0]).all():
        return _visible(_distance_to_border(alpha))
    return _visible(_distance_to_border(_over_white(colour, alpha)))


def _over_white(colour: Pixels, alpha: Pixels) -> Pixels:
    share = alpha.astype(np.float32) / 255
    flattened: Pixels = np.rint(colour * share + 255 * (1 - share)).astype(np.uint8)
    return flattened


def _distance_to_border(colour: Pixels) -> NDArray[np.int16]:
    """Differ from the border's median colour: [H, W, C] uint8 → [H, W] 0..510, twice the largest over the channels."""
    border = np.concatenate([colour[0], colour[-1], colour[:, 0], colour[:, -1]])
    # Twice, because a median may end in a half: rounded, it would tell a drawing from its inverse.
    paper = np.rint(2 * np.median(border, axis=0)).astype(np.int16)
    strongest: NDArray[np.int16] = np.abs(2 * colour.astype(np.int16) - paper).max(axis=2)
    return strongest


def _visible(difference: NDArray[np.int16]) -> Pixels:
    """Give the difference from the paper, doubled, as ink: 255 is the strongest."""
    strongest = difference.max() / 2
    if strongest < FAINTEST_INK:
        raise BlankImageError(
            f"expected a drawing, got a blank image: its strongest mark differs from its border by {strongest:.0f} of 255,"
            f" at least {FAINTEST_INK} is needed; send an image with visible ink"
        )
    return _stretch(difference)


def _stretch(ink: NDArray[Any]) -> Pixels:
    """Scale so that the strongest ink is 255."""
    stretched: Pixels = np.rint(ink * np.float32(255 / ink.max())).astype(np.uint8)
    return stretched


def _square_around(ink: Pixels, margin: float) -> Pixels:
    """Crop to what is at least half as strong as the strongest ink, centred in a square with a margin."""
    strong = ink >= 128
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    crop = ink[top:bottom, left:right]
    if max(crop.shape) > LONGEST_INK:
        crop = np.asarray(Image.fromarray(crop).reduce(-(-max(crop.shape) // LONGEST_INK)))
    height, width = crop.shape
    side = max(height, width) + 2 * round(max(height, width) * margin)
    square = np.zeros((side, side), np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    square[y : y + height, x : x + width] = crop
    return square


def _scaled(square: Pixels, size: int) -> NDArray[Any]:
    """Scale to [size, size] by averaging; strokes so thin that Pillow rounds or drops them are averaged exactly."""
    scaled = np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BOX))
    if scaled.max() >= FAINTEST_INK:
        return scaled
    shares = _shares(len(square), size)
    return shares @ square @ shares.T


def _shares(side: int, size: int) -> NDArray[np.float32]:
    """How much of each of `side` pixels lies in each of `size` equal parts of them: [size, side]."""
    edges, pixels = np.linspace(0, side, size + 1)[:, None], np.arange(side)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return overlap.clip(min=0).astype(np.float32)
