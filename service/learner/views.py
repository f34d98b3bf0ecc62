"""A fixed set of views of a picture: turned, scaled, stretched and slanted a little, the same for every picture.

A support set is adapted to through its views, which stand for the hands that did not draw it. The queries of a session
never matter here: this is augmentation of the support set, not transduction.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.episodes import Support

# Each after the first, which is the picture itself, changes one thing a little, one way and the other.
TURN, SCALE, STRETCH, SLANT = 0.12, 0.08, 0.08, 0.12
CHANGES = (
    (0.0, 0.0, 0.0, 0.0),
    (TURN, 0.0, 0.0, 0.0), (-TURN, 0.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, SLANT), (0.0, 0.0, 0.0, -SLANT),
    (0.0, SCALE, 0.0, 0.0), (0.0, -SCALE, 0.0, 0.0),
    (0.0, 0.0, STRETCH, 0.0), (0.0, 0.0, -STRETCH, 0.0),
)  # fmt: skip
MOST_VIEWS = len(CHANGES)


def with_views(support: Support, count: int) -> Support:
    """Give a support set with `count` views of every picture [N, C, H, W]: view by view, float32 in 0..1; as it is for one."""
    if count == 1:
        return support
    return Support(torch.cat([view(support.inputs, index) for index in range(count)]), support.labels.repeat(count), support.way)


def view(pictures: Tensor, index: int) -> Tensor:
    """Give the view of that number, 0 is the picture itself: [N, C, H, W] uint8 or float → float32 in 0..1."""
    values = pictures / 255 if pictures.dtype == torch.uint8 else pictures
    if index == 0:
        return values
    grid = F.affine_grid(_matrix(*CHANGES[index]).to(values).expand(len(values), 2, 3), list(values.shape), align_corners=False)
    return F.grid_sample(values, grid, align_corners=False)


def _matrix(turn: float, scale: float, stretch: float, slant: float) -> Tensor:
    """Write a turn (radians), scale and stretch (logarithms) and slant as an affine matrix [2, 3]."""
    wide, high = math.exp(scale + stretch), math.exp(scale - stretch)
    return torch.tensor(
        [
            [math.cos(turn) * wide, slant - math.sin(turn) * math.exp(scale), 0.0],
            [math.sin(turn) * math.exp(scale), math.cos(turn) * high, 0.0],
        ]
    )
