"""What every encoder offers: a frozen value that maps parameters and inputs to embeddings."""

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.parameters import Params

Activation = Literal["relu", "softplus"]
Norm = Literal["batch", "group", "none"]


class Normalise(Protocol):
    """How a batch-norm layer gets its moments: of this batch, or frozen ones (see `statistics`)."""

    def __call__(self, layer: str, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Normalise [N, C, ...] per channel, then scale by weight [C] and shift by bias [C]."""
        ...


class Encoder(Protocol):
    """An architecture. It holds no parameters: `initial` makes them, calling it uses them."""

    @property
    def embedding(self) -> int:
        """Length of an embedding."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch axis."""
        ...

    @property
    def norm(self) -> Norm:
        """What normalises its layers."""
        ...

    @property
    def blocks(self) -> tuple[str, ...]:
        """Prefixes of its parameter names, from input to output."""
        ...

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw fresh parameters, float32, named `encoder.<block>.<what>`."""
        ...

    def __call__(self, params: Params, inputs: Tensor, normalise: Normalise) -> Tensor:
        """Embed inputs [N, *input_shape], uint8 in 0..255 or float in 0..1, as [N, embedding]."""
        ...


def as_shares(inputs: Tensor, like: Tensor) -> Tensor:
    """Give pictures [N, C, H, W] as floats in 0..1, of the type of `like`; uint8 counts in 255ths."""
    values = inputs.to(like.dtype)
    return values / 255 if inputs.dtype == torch.uint8 else values


def normalised(norm: Norm, layer: str, params: Params, values: Tensor, *, normalise: Normalise, groups: int) -> Tensor:
    """Normalise values [N, C, H, W] by the layer's `<layer>norm.weight` and `<layer>norm.bias`, as the encoder's norm says."""
    if norm == "none":
        return values
    weight, bias = params[f"{layer}norm.weight"], params[f"{layer}norm.bias"]
    return F.group_norm(values, groups, weight, bias) if norm == "group" else normalise(layer, values, weight, bias)


def activate(kind: Activation, values: Tensor) -> Tensor:
    """Apply the non-linearity; `softplus` is the smooth one, for finite differences."""
    return F.relu(values, inplace=True) if kind == "relu" else F.softplus(values, beta=4)


def fresh_convolution(layer: str, inputs: int, outputs: int, side: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw a square convolution with its norm; it needs no bias, since the norm has one."""
    return {
        f"{layer}conv.weight": he_normal((outputs, inputs, side, side), generator),
        f"{layer}norm.weight": torch.ones(outputs),
        f"{layer}norm.bias": torch.zeros(outputs),
    }


def he_normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw weights [out, in, ...] for a rectifier (He et al. 2015, arXiv:1502.01852)."""
    fan_in = torch.Size(shape[1:]).numel()
    return torch.randn(tuple(shape), generator=generator) * math.sqrt(2 / fan_in)
