"""Glyphs: invented characters of random strokes, drawn by a seeded generator. No data on disk is needed.

A class is two to four strokes, each a Bézier curve; a drawing of it shifts every control point a little and turns,
slants and scales the whole, with a pen of its own width. Classes of different seeds never coincide.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs

Points = NDArray[np.float64]

SIDE = 96
CURVE_POINTS = 16
TREMOR = 0.035


def glyphs(classes: int, drawings: int, preprocessing: Preprocessing, *, seed: int) -> ClassInputs:
    """Draw classes of invented characters: uint8 [classes · drawings, channels, size, size].

    Args:
        classes: how many characters to invent.
        drawings: drawings of each.
        preprocessing: what turns a drawing into the encoder's input.
        seed: names the alphabet; the same seed gives the same drawings.
    """
    return ClassInputs.of([(f"glyph-{seed}-{index:04d}", _class(index, drawings, preprocessing, seed)) for index in range(classes)])


def _class(index: int, drawings: int, preprocessing: Preprocessing, seed: int) -> Tensor:
    random = np.random.default_rng((seed, index))
    strokes = [_stroke(random) for _ in range(random.integers(2, 5))]
    return torch.stack([preprocessing(_drawing(strokes, random)) for _ in range(drawings)])


def _stroke(random: np.random.Generator) -> Points:
    """Invent the control points [n, 2] of one stroke: a line, a bend or a curl, long enough to see."""
    while True:
        points = random.uniform(0.12, 0.88, size=(random.integers(2, 5), 2))
        if np.linalg.norm(points[-1] - points[0]) > 0.25 or len(points) == 4:
            return points


def _drawing(strokes: list[Points], random: np.random.Generator) -> Image.Image:
    image = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(image)
    width = int(random.integers(2, 6))
    transform = _hand(random)
    for stroke in strokes:
        shaken = stroke + random.normal(0, TREMOR, stroke.shape)
        path = ((_bezier(shaken) - 0.5) @ transform + 0.5) * SIDE
        pen.line([(float(x), float(y)) for x, y in path], fill=0, width=width, joint="curve")
    return image


def _hand(random: np.random.Generator) -> Points:
    """Turn, slant and scale: a 2×2 matrix."""
    angle, slant = random.normal(0, 0.12), random.normal(0, 0.12)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    stretch = np.diag(0.85 * np.exp(random.normal(0, 0.1, 2)))
    hand: Points = turn @ np.array([[1, 0], [slant, 1]]) @ stretch
    return hand


def _bezier(control: Points) -> Points:
    """Follow a Bézier curve of any degree (de Casteljau): control points [n, 2] → [CURVE_POINTS, 2]."""
    times = np.linspace(0, 1, CURVE_POINTS)[:, None, None]
    points = np.repeat(control[None], CURVE_POINTS, axis=0)
    while points.shape[1] > 1:
        points = (1 - times) * points[:, :-1] + times * points[:, 1:]
    return points[:, 0]
