"""ResNet-12: the encoder that most few-shot results since 2018 are given for.

Oreshkin, Rodríguez López and Lacoste (2018), TADAM, arXiv:1805.10123; widths 64-160-320-640 as in Lee et al. (2019),
MetaOptNet, arXiv:1904.03758. Without their DropBlock.
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

BLOCKS = ("encoder.block1.", "encoder.block2.", "encoder.block3.", "encoder.block4.")
LAYERS = ("first.", "second.", "third.")
LEAK = 0.1


@dataclass(frozen=True, slots=True)
class ResNet12(ProjectedPictures):
    """Four residual blocks of three 3×3 convolutions, each halved by 2×2 maxima; their mean over the picture is projected.

    Attributes:
        channels: 1 grey, 3 colour.
        size: side of the square input, in pixels.
        widths: channels of the four blocks.
        norm: `batch` (frozen when serving, for scope `head` only), `group` or `task` (any scope).
        projection: length of the embedding, by a learned linear map.
        unit: embeddings are scaled to the length √projection, so that their distances tell angles.
    """

    channels: int = 3
    size: int = 84
    widths: tuple[int, ...] = (64, 160, 320, 640)
    norm: Norm = "batch"
    groups: int = 8
    projection: int = 256
    unit: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built; raises ValueError."""
        require_positive(channels=self.channels, groups=self.groups, projection=self.projection)
        if self.size < 2 ** len(BLOCKS):
            raise ValueError(f"expected pictures of at least 16 pixels for four halvings, got {self.size}")
        if len(self.widths) != len(BLOCKS) or min(self.widths) < 1:
            raise ValueError(f"expected four positive widths, one for each block, got {list(self.widths)}")
        if self.norm == "none":
            raise ValueError("expected norm `batch`, `group` or `task`, since residual sums grow without one, got 'none'")
        if self.norm == "group" and any(width % self.groups for width in self.widths):
            raise ValueError(f"expected widths that {self.groups} groups divide, got {list(self.widths)}")

    @property
    def blocks(self) -> tuple[str, ...]:
        return (*BLOCKS, PROJECTION)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        params: dict[str, Tensor] = {}
        for block, (inputs, outputs) in zip(BLOCKS, pairwise((self.channels, *self.widths)), strict=True):
            for layer in LAYERS:
                params |= fresh_convolution(
                    f"{block}{layer}", (inputs if layer == LAYERS[0] else outputs, outputs, 3), self.norm, generator
                )
            params |= fresh_convolution(f"{block}shortcut.", (inputs, outputs, 1), self.norm, generator)
        return params | self._initial_projection(self.widths[-1], generator)

    def __call__(self, params: Params, inputs: Tensor, normalise: Normalise) -> Tensor:
        values = with_channels_last(as_shares(inputs, params["encoder.block1.first.conv.weight"]))
        for block in BLOCKS:
            values = self._block(block, params, values, normalise)
        return self._projected(params, values.mean(dim=(2, 3)))

    def _block(self, block: str, params: Params, values: Tensor, normalise: Normalise) -> Tensor:
        shortcut = self._convolved(f"{block}shortcut.", params, values, normalise)
        for layer in LAYERS[:-1]:
            values = F.leaky_relu(self._convolved(f"{block}{layer}", params, values, normalise), LEAK, inplace=True)
        values = F.leaky_relu(self._convolved(f"{block}{LAYERS[-1]}", params, values, normalise) + shortcut, LEAK, inplace=True)
        return F.max_pool2d(values, 2)

    def _convolved(self, layer: str, params: Params, values: Tensor, normalise: Normalise) -> Tensor:
        values = convolved(layer, params, values)
        return normalised(self.norm, layer, params, values, normalise=normalise, groups=self.groups)
