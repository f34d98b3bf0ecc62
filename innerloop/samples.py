"""Made-up labelled inputs for a meta-model, to try a server with when one has none."""

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

from innerloop.inputs import Input
from innerloop.png import encode_png
from innerloop.wire import ModelInfo

SIDE = 64  # pixels
_CORNERS = 5  # of a drawn line
_ANY_LENGTH = 16  # of the vectors for a meta-model that takes any

Point: TypeAlias = tuple[float, float]


def sample(model: ModelInfo, *, way: int, shot: int, seed: int = 0) -> dict[str, list[Input]]:
    """`shot` inputs of each of `way` classes, of the kind that the meta-model takes: drawings of a bent line, or vectors about a centre."""
    takes = model.input or {}
    dice = random.Random(seed)  # noqa: S311 - no secret
    if takes.get("kind") == "vector":
        length = takes.get("length") or _ANY_LENGTH
        centres = [[dice.gauss(0, 3) for _ in range(length)] for _ in range(way)]
        return {f"class {n}": [[x + dice.gauss(0, 1) for x in centre] for _ in range(shot)] for n, centre in enumerate(centres)}
    lines = [[(dice.random(), dice.random()) for _ in range(_CORNERS)] for _ in range(way)]
    return {f"class {n}": [drawing([_near(point, dice) for point in line]) for _ in range(shot)] for n, line in enumerate(lines)}


def drawing(line: Sequence[Point]) -> bytes:
    """PNG, black on white, of a line through points of the unit square."""
    rows = [bytearray(b"\xff" * SIDE) for _ in range(SIDE)]
    for (x, y), (to_x, to_y) in pairwise(line):
        for step in range(2 * SIDE):
            part = step / (2 * SIDE)
            _press(rows, x + part * (to_x - x), y + part * (to_y - y))
    return encode_png([bytes(row) for row in rows], channels=1)


def _press(rows: Sequence[bytearray], x: float, y: float) -> None:
    """A pen of two pixels, 8 pixels away from every edge."""
    left, top = (8 + round(place * (SIDE - 18)) for place in (x, y))
    for row in rows[top : top + 2]:
        row[left : left + 2] = b"\0\0"


def _near(point: Point, dice: random.Random) -> Point:
    x, y = (min(max(place + dice.gauss(0, 0.03), 0), 1) for place in point)
    return x, y
