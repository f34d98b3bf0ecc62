"""The preprocessing recipe of a meta-model: one decoded image → the uint8 tensor its encoder reads.

Every step looks at one image alone, never at a set, so a prediction cannot depend on its neighbours.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from service.errors import BlankImageError

Pixels = NDArray[np.uint8]

# Ink must differ from the paper by this much (of 255): less is the noise of a scan or of JPEG.
FAINTEST_INK = 24


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a meta-model wants its images: `drawing` finds the ink, `photo` keeps the picture as it is."""

    kind: Literal["drawing", "photo"] = "drawing"
    size: int = 28
    channels: Literal[1, 3] = 1
    margin: float = 0.1

    def __call__(self, image: Image.Image) -> Tensor:
        """Give the image as the encoder reads it: [channels, size, size] uint8.

        A drawing is found by its ink, cropped to it, centred in a square with `margin` (a share of the ink's
        longer side) on every side, and scaled; the paper is 0 and the darkest ink 255, whatever the colours were.

        Raises:
            BlankImageError: nothing in a drawing differs from its border.
        """
        if self.kind == "photo":
            return _photo(image, self.size, self.channels)
        square = _square_around(_ink(image), self.margin)
        scaled = np.asarray(Image.fromarray(square).resize((self.size, self.size), Image.Resampling.BOX, reducing_gap=None))
        return torch.from_numpy(_stretch(scaled)).unsqueeze(0).repeat(self.channels, 1, 1)


def _ink(image: Image.Image) -> Pixels:
    """Find the ink: [H, W] uint8, 0 paper to 255 ink. Inverted, coloured and transparent versions give the same."""
    colour, alpha = _colour_and_alpha(image)
    if alpha is not None:
        visible = colour[alpha > 0]
        if len(visible) == 0:
            raise BlankImageError("expected a drawing, got a fully transparent image; send one with visible ink")
        if (visible == visible[0]).all():
            return _stretch(_distance_to_border(alpha[:, :, None]))
        colour = _over_white(colour, alpha)
    return _stretch(_distance_to_border(colour))


def _colour_and_alpha(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Split into colour [H, W, 3] and, only when it varies, alpha [H, W]."""
    pixels = np.asarray(image.convert("RGBA"))
    colour, alpha = pixels[:, :, :3], pixels[:, :, 3]
    return colour, None if (alpha == alpha[0, 0]).all() and alpha[0, 0] > 0 else alpha


def _over_white(colour: Pixels, alpha: Pixels) -> Pixels:
    share = alpha[:, :, None].astype(np.float32) / 255
    return np.rint(colour * share + 255 * (1 - share)).astype(np.uint8)


def _distance_to_border(colour: Pixels) -> Pixels:
    """Differ from the border's median colour: [H, W, C] uint8 → [H, W] uint8, the largest over the channels."""
    border = np.concatenate([colour[0], colour[-1], colour[:, 0], colour[:, -1]])
    paper = np.median(border, axis=0).astype(np.int16)
    return np.abs(colour.astype(np.int16) - paper).max(axis=2).astype(np.uint8)


def _stretch(ink: Pixels) -> Pixels:
    """Scale so that the strongest ink is 255."""
    strongest = int(ink.max())
    if strongest < FAINTEST_INK:
        raise BlankImageError(
            f"expected a drawing, got a blank image (its strongest mark differs from its border by {strongest} of 255,"
            f" at least {FAINTEST_INK} is needed); send an image with visible ink"
        )
    return np.rint(ink.astype(np.float32) * (255 / strongest)).astype(np.uint8)


def _square_around(ink: Pixels, margin: float) -> Pixels:
    """Crop to what is at least half as strong as the strongest ink, centred in a square with a margin."""
    rows, columns = np.nonzero((ink >= 128).any(axis=1))[0], np.nonzero((ink >= 128).any(axis=0))[0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    height, width = bottom - top, right - left
    side = max(height, width)
    side += 2 * round(side * margin)
    square = np.zeros((side, side), np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    square[y : y + height, x : x + width] = ink[top:bottom, left:right]
    return square


def _photo(image: Image.Image, size: int, channels: int) -> Tensor:
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.LANCZOS))
    return torch.from_numpy(pixels.reshape(size, size, channels).transpose(2, 0, 1).copy())
