"""Generated pictures in class folders: coloured scenes and black drawings."""

from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from tests.tiny import SHAPES, drawing

COLOURS = ("crimson", "seagreen", "royalblue", "goldenrod", "orchid", "sienna", "teal", "olive")


def scene(number: int, random: Random, *, side: int = 48) -> Image.Image:
    """A picture of its class, named by a number: blobs of the class's colour, in its arrangement, on an uneven ground."""
    image = Image.effect_noise((side + 16, side), 60).convert("RGB")
    pen = ImageDraw.Draw(image)
    for _ in range(2 + number % 3):
        x, y, r = random.randint(5, side), random.randint(5, side - 10), random.randint(5, 10)
        draw = pen.ellipse if number % 2 else pen.rectangle
        draw([x, y, x + r, y + r], fill=COLOURS[number % len(COLOURS)])
    return image


def scenes(root: Path, *, classes: int = 6, images: int = 8) -> Path:
    """Class folders of coloured pictures, 64 by 48 pixels."""
    for number in range(classes):
        for index in range(images):
            chance = Random(100 * number + index)  # noqa: S311
            _save(scene(number, chance), root / f"kind {number}" / f"{index}.png")
    return root


def drawings(root: Path, *, classes: int = 6, images: int = 4) -> Path:
    """Class folders of line drawings, 48 pixels square; the sixth is the first turned upside down."""
    for number in range(classes):
        for index in range(images):
            image = drawing(SHAPES[number % 5], width=2 + index % 4, shift=index - 2)
            _save(image if number < 5 else image.rotate(180), root / f"sign{number}" / f"{index}.png")
    return root


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
