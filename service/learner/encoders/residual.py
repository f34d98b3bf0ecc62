"""A small residual network: deeper and wider than four convolutions at the same cost a picture.

He et al. (2016), arXiv:1512.03385, with the stride-2 stem that small pictures want.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.encoder import (
    Norm,
    Normalise,
    as_shares,
    convolved,
    fresh_convolution,
    normalised,
    require_positive,
    with_channels_last,
)
from service.learner.encoders.projected import PROJECTION, ProjectedPictures
from service.learner.parameters import Params

STEM = "encoder.stem."


@dataclass(frozen=True, slots=True)
class Residual(ProjectedPictures):
    """A 3×3 stem that halves the picture, then residual blocks of two 3×3 convolutions, flattened and projected.

    Attributes:
        channels: 1 grey, 3 colour.
        size: side of the square input, in pixels.
        widths: channels of every block; the stem has those of the first. Every block after the first halves the picture.
        norm: `batch` (frozen when serving, for scope `head` only), `group` or `task` (any scope).
        projection: length of the embedding, by a learned linear map.
        unit: embeddings are scaled to the length √projection, so that their distances tell angles.
    """

    channels: int = 1
    size: int = 28
    widths: tuple[int, ...] = (64, 128, 192)
    norm: Norm = "batch"
    groups: int = 8
    projection: int = 256
    unit: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built; raises ValueError."""
        require_positive(channels=self.channels, size=self.size, groups=self.groups, projection=self.projection)
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"expected at least one block of a positive width, got {list(self.widths)}")
        if self.norm == "none":
            raise ValueError("expected norm `batch`, `group` or `task`, since residual sums grow without one, got 'none'")
        if self.norm == "group" and any(width % self.groups for width in self.widths):
            raise ValueError(f"expected widths that {self.groups} groups divide, got {list(self.widths)}")

    @property
    def _last_side(self) -> int:
        side = self.size
        for _ in self.widths:  # the stem halves, and every block but the first
            side = (side + 1) // 2
        return side

    @property
    def _blocks(self) -> tuple[str, ...]:
        return tuple(f"encoder.block{index + 1}." for index in range(len(self.widths)))

    @property
    def blocks(self) -> tuple[str, ...]:
        return (STEM, *self._blocks, PROJECTION)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        params = fresh_convolution(STEM, (self.channels, self.widths[0], 3), self.norm, generator)
        for block, (inputs, outputs) in zip(self._blocks, pairwise((self.widths[0], *self.widths)), strict=True):
            params |= fresh_convolution(f"{block}first.", (inputs, outputs, 3), self.norm, generator)
            params |= fresh_convolution(f"{block}second.", (outputs, outputs, 3), self.norm, generator)
            if block != self._blocks[0]:
                params |= fresh_convolution(f"{block}shortcut.", (inputs, outputs, 1), self.norm, generator)
        return params | self._initial_projection(self.widths[-1] * self._last_side**2, generator)

    def __call__(self, params: Params, inputs: Tensor, normalise: Normalise) -> Tensor:
        # Channels last: what the CPU's convolutions read fastest; the values are the same.
        values = with_channels_last(as_shares(inputs, params[f"{STEM}conv.weight"]))
        values = F.relu(self._convolved(STEM, params, values, normalise, stride=2), inplace=True)
        for block in self._blocks:
            values = self._block(block, params, values, normalise)
        return self._projected(params, values)

    def _block(self, block: str, params: Params, values: Tensor, normalise: Normalise) -> Tensor:
        stride = 1 if block == self._blocks[0] else 2
        shortcut = values if stride == 1 else self._convolved(f"{block}shortcut.", params, values, normalise, stride=stride)
        values = F.relu(self._convolved(f"{block}first.", params, values, normalise, stride=stride), inplace=True)
        return F.relu(self._convolved(f"{block}second.", params, values, normalise, stride=1) + shortcut, inplace=True)

    def _convolved(self, layer: str, params: Params, values: Tensor, normalise: Normalise, *, stride: int) -> Tensor:
        values = convolved(layer, params, values, stride=stride)
        return normalised(self.norm, layer, params, values, normalise=normalise, groups=self.groups)
