"""Four convolution blocks: the encoder of the few-shot literature.

Vinyals et al. (2016), arXiv:1606.04080; strided instead of pooled as in Finn et al. (2017), arXiv:1703.03400.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.encoder import (
    Activation,
    Norm,
    Normalise,
    activate,
    as_shares,
    convolved,
    he_normal,
    initial_norm,
    modulated,
    normalised,
    require_positive,
    with_channels_last,
)
from service.learner.parameters import Params

BLOCKS = ("encoder.block1.", "encoder.block2.", "encoder.block3.", "encoder.block4.")


@dataclass(frozen=True, slots=True)
class Conv4:
    """Four 3×3 convolutions, each halving the picture, flattened and, when asked, projected.

    Attributes:
        channels: 1 grey, 3 colour.
        size: side of the square input, in pixels.
        width: channels of every block.
        downsample: `stride` halves in the convolution (a third to a tenth of the cost), `pool` by 2×2 maxima after it.
        norm: `batch` (frozen when serving, for scope `head` only), `group` or `task` (any scope) or `none`.
        projection: length of the embedding by a learned linear map; None keeps the flattened features.
        context: context parameters, which scale and shift the channels of every block.
    """

    channels: int = 1
    size: int = 28
    width: int = 64
    downsample: Literal["stride", "pool"] = "stride"
    norm: Norm = "batch"
    activation: Activation = "relu"
    groups: int = 8
    projection: int | None = None
    context: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built; raises ValueError."""
        require_positive(channels=self.channels, size=self.size, width=self.width, groups=self.groups, projection=self.projection)
        if self.context < 0:
            raise ValueError(f"expected no negative context, got {self.context}")
        if self._last_side < 1:
            raise ValueError(f"expected pictures of at least 16 pixels for four halvings, got {self.size}")
        if self.norm == "group" and self.width % self.groups:
            raise ValueError(f"expected a width that {self.groups} groups divide, got {self.width}")
        if self.norm == "group" and self._flattened == self.groups:
            raise ValueError(
                f"expected fewer than {self.groups} groups, since the last block gives each a single number, which norms to zero"
            )

    @property
    def _last_side(self) -> int:
        side = self.size
        for _ in BLOCKS:
            side = (side + 1) // 2 if self.downsample == "stride" else side // 2
        return side

    @property
    def _flattened(self) -> int:
        return self.width * self._last_side**2

    @property
    def embedding(self) -> int:
        return self.projection or self._flattened

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (self.channels, self.size, self.size)

    @property
    def blocks(self) -> tuple[str, ...]:
        return (*BLOCKS, "encoder.projection.") if self.projection else BLOCKS

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        params: dict[str, Tensor] = {}
        for index, block in enumerate(BLOCKS):
            inputs = self.channels if index == 0 else self.width
            params[f"{block}conv.weight"] = he_normal((self.width, inputs, 3, 3), generator)
            params[f"{block}conv.bias"] = torch.zeros(self.width)
            params |= initial_norm(self.norm, block, self.width)
            if self.context:
                params[f"{block}film.weight"] = he_normal((2 * self.width, self.context), generator)
        if self.projection:
            params["encoder.projection.weight"] = he_normal((self.projection, self._flattened), generator)
        return params

    def __call__(self, params: Params, inputs: Tensor, normalise: Normalise) -> Tensor:
        values = with_channels_last(as_shares(inputs, params["encoder.block1.conv.weight"]))
        for block in BLOCKS:
            values = self._block(block, params, values, normalise)
        values = values.flatten(1)
        return F.linear(values, params["encoder.projection.weight"]) if self.projection else values

    def _block(self, block: str, params: Params, values: Tensor, normalise: Normalise) -> Tensor:
        stride = 2 if self.downsample == "stride" else 1
        values = convolved(block, params, values, stride=stride)
        values = normalised(self.norm, block, params, values, normalise=normalise, groups=self.groups)
        values = modulated(block, params, values)
        values = activate(self.activation, values)
        return values if self.downsample == "stride" else F.max_pool2d(values, 2)
