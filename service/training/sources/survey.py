"""A look at a folder of images before training on it: how many of each class, what they are like, which are damaged."""

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import BlankImageError, InputError
from service.inputs.images import decode_image
from service.inputs.preprocessing import FAINTEST_INK, Preprocessing
from service.training.sources.class_folders import look

# Looked at in small: enough to tell colour and paper.
THUMBNAIL = 64

# A pixel is colourful when its channels differ by so much of 255, a picture when so many of its pixels are.
COLOURFUL_PIXEL, COLOURFUL_SHARE = 40, 0.02

# Of a drawing so much of the border is paper, and so much of the whole.
PAPER_BORDER, PAPER_SHARE = 0.9, 0.5

# So many pictures decide for all of them.
FEW, MOST = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Survey:
    """What a folder or zip of class folders holds.

    Attributes:
        classes: how many sound images each class has, by its name, sorted.
        damaged: images that cannot be read, by their paths inside, and why.
        stray: images in no class folder, by their paths inside.
        side: the median of the images' shorter sides, in pixels.
        colour: whether more than a tenth of them have visible colour.
        drawings: whether nine tenths of them are strokes on even paper, and few have colour.
    """

    classes: Mapping[str, int]
    damaged: Mapping[PurePosixPath, str]
    side: int
    colour: bool
    drawings: bool
    stray: tuple[PurePosixPath, ...] = ()


@dataclass(frozen=True, slots=True)
class _Look:
    """What one image is like."""

    side: int
    colourful: bool
    drawn: bool


def survey(path: Path) -> Survey:
    """Look at every image of a folder or zip of class folders.

    Raises:
        BadDataError: nothing there, or not a zip.
    """
    looks: list[_Look] = []
    classes: Counter[str] = Counter()
    damaged: dict[PurePosixPath, str] = {}
    found = look(path)
    for member in found.members:
        try:
            looks.append(_look(decode_image(member.content, name=str(member.path))))
        except InputError as error:
            damaged[member.path] = error.message
        else:
            classes[member.label] += 1
    colour = _share([look.colourful for look in looks]) > FEW
    return Survey(
        classes=dict(sorted(classes.items())),
        damaged=damaged,
        side=round(statistics.median(look.side for look in looks)) if looks else 0,
        colour=colour,
        drawings=not colour and _share([look.drawn for look in looks]) >= MOST,
        stray=found.stray,
    )


def _share(answers: list[bool]) -> float:
    return sum(answers) / max(1, len(answers))


def _look(image: Image.Image) -> _Look:
    small = image.convert("RGBA")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    pixels = np.asarray(small).astype(np.int32)
    colour, alpha = pixels[:, :, :3], pixels[:, :, 3:]
    seen = colour * alpha // 255 + (255 - alpha)
    colourful = np.ptp(seen, axis=2) > COLOURFUL_PIXEL
    return _Look(min(image.size), float(colourful.mean()) > COLOURFUL_SHARE, _is_drawn(image, seen))


def _is_drawn(image: Image.Image, seen: NDArray[np.int32]) -> bool:
    """Whether the image is mostly paper, paper all round, and has ink that a drawing's preprocessing finds."""
    grey = seen.mean(axis=2)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = np.median(border)
    even = np.mean(np.abs(border - paper) < FAINTEST_INK) >= PAPER_BORDER
    if not even or np.mean(np.abs(grey - paper) < FAINTEST_INK) < PAPER_SHARE:
        return False
    try:
        Preprocessing()(image)
    except BlankImageError:
        return False
    return True
