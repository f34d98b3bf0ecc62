"""The preprocessing recipe of a meta-model: one decoded image → the uint8 tensor its encoder reads.

Every step looks at one image alone, never at a set, so a prediction cannot depend on its neighbours.
"""

from dataclasses import dataclass
from functools import reduce
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
        scaled = _scaled(_square_around(_difference(image), self.margin), self.size)
        return torch.from_numpy(np.repeat(_stretched(scaled, scaled.max())[None], self.channels, axis=0))


def _photo(image: Image.Image, size: int, channels: int) -> Tensor:
    picture = image.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.LANCZOS)
    return torch.tensor(np.asarray(picture).reshape(size, size, channels)).permute(2, 0, 1).contiguous()


def _difference(image: Image.Image) -> NDArray[np.int16]:
    """Find the ink: [H, W], 0 paper to 510, twice what disagrees with the border's median."""
    if image.mode in ("1", "L"):
        return _distance_to_border(np.asarray(image.convert("L"))[:, :, None])
    pixels = np.asarray(image.convert("RGBA"))
    colour, alpha = pixels[:, :, :3], pixels[:, :, 3:]
    if (alpha == 255).all():
        return _distance_to_border(colour)
    # Transparent pixels have no colour of their own; one colour throughout means that alpha draws.
    visible = colour[alpha[:, :, 0] > 0]
    if len(visible) == 0 or (visible == visible[0]).all():
        return _distance_to_border(alpha)
    return _distance_to_border(_over_white(colour, alpha))


def _over_white(colour: Pixels, alpha: Pixels) -> Pixels:
    share = alpha.astype(np.float32) / 255
    flattened: Pixels = np.rint(colour * share + 255 * (1 - share)).astype(np.uint8)
    return flattened


def _distance_to_border(colour: Pixels) -> NDArray[np.int16]:
    """Differ from the border's median colour: [H, W, C] uint8 → [H, W] 0..510, twice the largest over the channels."""
    border = np.sort(np.concatenate([colour[0], colour[-1], colour[:, 0], colour[:, -1]]), axis=0).astype(np.int16)
    # Twice, because a median may end in a half: rounded, it would tell a drawing from its inverse.
    paper = border[(len(border) - 1) // 2] + border[len(border) // 2]
    doubled = 2 * colour.astype(np.int16)
    return reduce(np.maximum, (np.abs(doubled[:, :, channel] - paper[channel]) for channel in range(len(paper))))


def _stretched(ink: NDArray[Any], strongest: float) -> Pixels:
    """Scale so that the strongest ink is 255."""
    stretched: Pixels = np.rint(ink * np.float32(255 / strongest)).astype(np.uint8)
    return stretched


def _square_around(difference: NDArray[np.int16], margin: float) -> Pixels:
    """Crop to what is at least half as strong as the strongest ink, centred in a square with a margin; 255 is the strongest.

    Raises:
        BlankImageError: nothing is strong enough to be ink.
    """
    strongest = int(difference.max())
    if strongest < 2 * FAINTEST_INK:
        raise BlankImageError(
            f"expected a drawing, got a blank image: its strongest mark differs from its border by {strongest / 2:.0f} of 255,"
            f" at least {FAINTEST_INK} is needed; send an image with visible ink"
        )
    # Only what is cropped to is stretched; the rest is compared with the first difference that would be stretched to 128.
    half = int(np.searchsorted(_stretched(np.arange(strongest + 1, dtype=np.int16), strongest), 128))
    strong = difference >= half
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    crop = _stretched(difference[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], strongest)
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
