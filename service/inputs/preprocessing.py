"""The preprocessing recipe of a meta-model: one decoded image → the uint8 tensor its encoder reads.

Every step looks at one image alone, never at a set, so a prediction cannot depend on its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
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

# Of every value of alpha, whether it shows its pixel at all.
VISIBLE = bytes(1) + bytes([255] * 255)


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
        scaled = _scaled(_square_around(_ink(image), self.margin), self.size)
        return torch.from_numpy(np.array([scaled] * self.channels))


def _photo(image: Image.Image, size: int, channels: int) -> Tensor:
    picture = image.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.LANCZOS)
    return torch.tensor(np.asarray(picture).reshape(size, size, channels)).permute(2, 0, 1).contiguous()


def _ink(image: Image.Image) -> Pixels:
    """Find the ink: [H, W], 0 where the picture is as its border, 255 where it differs most from it.

    Raises:
        BlankImageError: nothing is strong enough to be ink.
    """
    channels = [_pixels(each) for each in _channels(image)]
    papers = list(map(_doubled_median_of_border, channels))
    strongest = max(abs(2 * int(value) - paper) for each, paper in zip(channels, papers, strict=True) for value in (each.min(), each.max()))
    if strongest < 2 * FAINTEST_INK:
        raise BlankImageError(
            f"expected a drawing, got a blank image: its strongest mark differs from its border by {strongest / 2:.0f} of 255,"
            f" at least {FAINTEST_INK} is needed; send an image with visible ink"
        )
    return reduce(np.maximum, (_looked_up(each, _inks(paper, strongest)) for each, paper in zip(channels, papers, strict=True)))


def _pixels(channel: Image.Image) -> Pixels:
    """Give the values of a channel: [H, W]."""
    return np.frombuffer(channel.tobytes(), np.uint8).reshape(channel.height, channel.width)


def _looked_up(pixels: Pixels, table: bytes) -> Pixels:
    """Give what each value is in a table of 256."""
    return np.frombuffer(pixels.tobytes().translate(table), np.uint8).reshape(pixels.shape)


def _channels(image: Image.Image) -> Sequence[Image.Image]:
    """Give the channels that draw, 8 bits each."""
    if image.mode in ("1", "L"):
        return [image.convert("L")]
    *colour, alpha = image.convert("RGBA").split()
    if alpha.getextrema()[0] == 255:
        return colour
    # Transparent pixels have no colour of their own; one colour throughout means that alpha draws.
    visible = alpha.point(VISIBLE)
    if all(sum(map(bool, each.histogram(visible))) < 2 for each in colour):
        return [alpha]
    return [_over_white(each, alpha) for each in colour]


def _over_white(colour: Image.Image, alpha: Image.Image) -> Image.Image:
    share = np.asarray(alpha).astype(np.float32) / 255
    return Image.fromarray(np.rint(np.asarray(colour) * share + 255 * (1 - share)).astype(np.uint8))


def _doubled_median_of_border(pixels: Pixels) -> int:
    """Give the paper, 0 to 510: doubled, because a median may end in a half, and rounding it would tell a drawing from its inverse."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    border.sort()
    return int(border[(len(border) - 1) // 2]) + int(border[len(border) // 2])


@lru_cache(maxsize=4096)
def _inks(paper: int, strongest: int) -> bytes:
    """Give the ink of each of 256 values, on a paper of 0 to 510: twice the difference, where the `strongest` that occurs comes to 255."""
    return _stretched(np.abs(2 * np.arange(256, dtype=np.int16) - paper).clip(max=strongest), strongest).tobytes()


def _stretched(ink: NDArray[Any], strongest: float) -> Pixels:
    """Scale so that the strongest ink is 255."""
    stretched: Pixels = np.rint(ink * np.float32(255 / strongest)).astype(np.uint8)
    return stretched


def _square_around(ink: Pixels, margin: float) -> Image.Image:
    """Crop to what is at least half as strong as the strongest ink, centred in a square with a margin."""
    strong = ink >= 128
    rows, columns = _extent(np.logical_or.reduce(strong, axis=1)), _extent(np.logical_or.reduce(strong, axis=0))
    crop = ink[rows, columns]
    if max(crop.shape) > LONGEST_INK:
        crop = np.asarray(Image.fromarray(crop).reduce(-(-max(crop.shape) // LONGEST_INK)))
    height, width = crop.shape
    side = max(height, width) + 2 * round(max(height, width) * margin)
    square = np.zeros((side, side), np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    square[y : y + height, x : x + width] = crop
    return Image.fromarray(square)


def _extent(strong: NDArray[np.bool_]) -> slice:
    """Give where the first and the last lie, in a row of at least one."""
    told = strong.tobytes()
    return slice(told.index(1), told.rindex(1) + 1)


def _scaled(square: Image.Image, size: int) -> Pixels:
    """Scale to [size, size] by averaging, the strongest 255; strokes so thin that Pillow rounds or drops them are averaged exactly."""
    scaled = _pixels(square.resize((size, size), Image.Resampling.BOX))
    strongest = int(scaled.max())
    if strongest >= FAINTEST_INK:
        return _looked_up(scaled, _inks(0, 2 * strongest))
    shares = _shares(square.width, size)
    averaged = shares @ np.asarray(square) @ shares.T
    return _stretched(averaged, averaged.max())


def _shares(side: int, size: int) -> NDArray[np.float32]:
    """How much of each of `side` pixels lies in each of `size` equal parts of them: [size, side]."""
    edges, pixels = np.linspace(0, side, size + 1)[:, None], np.arange(side)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return overlap.clip(min=0).astype(np.float32)
