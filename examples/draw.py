"""Draws the five invented characters of this folder: `python examples/draw.py`.

They belong to no alphabet and to no data set, so no meta-model can have seen them. A drawing is a few pen strokes through jittered
control points; its name is its seed, so the same name always gives the same picture.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

Point = tuple[float, float]  # x to the right, y down, within the unit square

HERE = Path(__file__).parent / "characters"
SUPPORT_DRAWINGS = 5
QUERY_DRAWINGS = 3
OVERSAMPLING = 4  # drawn larger, then shrunk: that is what makes the edges grey


@dataclass(frozen=True, slots=True)
class Stroke:
    """Points that the pen passes through; a sharp stroke turns at each, any other one bends."""

    points: tuple[Point, ...]
    sharp: bool = False


CHARACTERS: dict[str, tuple[Stroke, ...]] = {
    "anchor": (
        Stroke(((0.50, 0.22), (0.38, 0.12), (0.50, 0.00), (0.62, 0.11), (0.51, 0.22))),
        Stroke(((0.50, 0.22), (0.51, 0.55), (0.50, 0.95))),
        Stroke(((0.28, 0.36), (0.72, 0.34))),
        Stroke(((0.12, 0.64), (0.22, 0.85), (0.50, 0.96), (0.78, 0.85), (0.88, 0.64))),
    ),
    "comet": (
        Stroke(((0.62, 0.14), (0.48, 0.28), (0.62, 0.44), (0.78, 0.30), (0.64, 0.14))),
        Stroke(((0.47, 0.22), (0.26, 0.40), (0.08, 0.70))),
        Stroke(((0.55, 0.42), (0.40, 0.62), (0.30, 0.92))),
        Stroke(((0.72, 0.43), (0.70, 0.66), (0.62, 0.90))),
    ),
    "hook": (
        Stroke(
            ((0.34, 0.30), (0.46, 0.24), (0.50, 0.36), (0.36, 0.42), (0.24, 0.28), (0.40, 0.08), (0.64, 0.16), (0.66, 0.44), (0.54, 0.92))
        ),
        Stroke(((0.32, 0.74), (0.84, 0.66))),
    ),
    "kite": (
        Stroke(((0.52, 0.02), (0.26, 0.30), (0.48, 0.62), (0.76, 0.28), (0.53, 0.03)), sharp=True),
        Stroke(((0.28, 0.30), (0.74, 0.29))),
        Stroke(((0.48, 0.62), (0.36, 0.72), (0.52, 0.82), (0.38, 0.90), (0.50, 0.99))),
    ),
    "ladder": (
        Stroke(((0.32, 0.04), (0.28, 0.50), (0.22, 0.96))),
        Stroke(((0.66, 0.03), (0.72, 0.50), (0.76, 0.96))),
        Stroke(((0.30, 0.24), (0.70, 0.22))),
        Stroke(((0.28, 0.50), (0.50, 0.58), (0.72, 0.49))),
        Stroke(((0.24, 0.76), (0.76, 0.74))),
    ),
}


def draw(name: str, seed: str) -> Image.Image:
    """One drawing of a character: 8-bit grey, black on white, 105 to 160 pixels a side."""
    dice = random.Random(f"{name}/{seed}")  # noqa: S311 - a drawing is no secret
    side = dice.randint(105, 160)
    place = placement(dice, side * OVERSAMPLING)
    sheet = Image.new("L", (side * OVERSAMPLING, side * OVERSAMPLING), 255)
    for stroke in CHARACTERS[name]:
        ink(sheet, [place(point) for point in path(stroke, dice)], dice)
    return sheet.resize((side, side), Image.Resampling.LANCZOS)


def placement(dice: random.Random, side: float) -> Callable[[Point], Point]:
    """A map from the unit square to the sheet: slanted, turned, scaled, shifted a little, as a hand does."""
    slant, turn = dice.gauss(0, 0.10), math.radians(dice.gauss(0, 5))
    width, height = dice.uniform(0.50, 0.75) * side, dice.uniform(0.58, 0.80) * side
    left, top = (side / 2 + dice.gauss(0, 0.03) * side for _ in range(2))

    def place(point: Point) -> Point:
        x, y = point[0] - 0.5, point[1] - 0.5
        x, y = (x - slant * y) * width, y * height
        return left + x * math.cos(turn) - y * math.sin(turn), top + x * math.sin(turn) + y * math.cos(turn)

    return place


def path(stroke: Stroke, dice: random.Random) -> Iterator[Point]:
    """Close points along a stroke, whose control points miss their places by a few per cent."""
    points = [(x + dice.gauss(0, 0.028), y + dice.gauss(0, 0.028)) for x, y in stroke.points]
    for k in range(len(points) - 1):
        before, after = points[max(k - 1, 0)], points[min(k + 2, len(points) - 1)]
        if stroke.sharp:
            before, after = points[k], points[k + 1]
        for step in range(61):
            yield between(before, points[k], points[k + 1], after, step / 60)


def between(before: Point, start: Point, end: Point, after: Point, t: float) -> Point:
    """The point at `t` (0..1) from `start` to `end` on a Catmull-Rom spline."""
    x, y = (
        b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        for a, b, c, d in zip(before, start, end, after, strict=True)
    )
    return x, y


def ink(sheet: Image.Image, points: list[Point], dice: random.Random) -> None:
    """Press a round pen along the points, harder and softer in one slow wave."""
    pen = ImageDraw.Draw(sheet)
    radius, wave, phase = dice.uniform(0.010, 0.016) * sheet.width, dice.uniform(0.5, 1.5), dice.uniform(0, math.tau)
    for k, (x, y) in enumerate(points):
        r = radius * (1 + 0.15 * math.sin(phase + math.tau * wave * k / len(points)))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=0)


def main() -> None:
    for name in CHARACTERS:
        for number in range(1, SUPPORT_DRAWINGS + 1):
            save(draw(name, f"support {number}"), HERE / "support" / name / f"{number}.png")
        for number in range(1, QUERY_DRAWINGS + 1):
            save(draw(name, f"query {number}"), HERE / "queries" / f"{name}-{number}.png")


def save(drawing: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    drawing.save(file, optimize=True)


if __name__ == "__main__":
    main()
