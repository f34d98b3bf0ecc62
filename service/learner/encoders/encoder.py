"""What every encoder offers: a frozen value that maps parameters and inputs to embeddings."""

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.parameters import Params

Activation = Literal["relu", "softplus"]
Norm = Literal["batch", "group", "task", "none"]


class Normalise(Protocol):
    """How a batch-norm or task-norm layer gets its moments: of this batch, of a support set, or frozen ones (see `statistics`)."""

    def __call__(self, layer: str, params: Params, values: Tensor) -> Tensor:
        """Normalise [N, C, ...] per channel, then scale by `<layer>norm.weight` [C] and shift by `<layer>norm.bias` [C]."""
        ...


class Encoder(Protocol):
    """An architecture, a value. It holds no parameters: `initial` makes them, calling it uses them."""

    def __hash__(self) -> int:
        """Let what is found out about it once be remembered."""
        ...

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
    def context(self) -> int:
        """How many context parameters it listens to; 0 for none."""
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


def require_positive(**sizes: int | None) -> None:
    """Refuse a size that cannot be built, by its name; None is none. Raises ValueError."""
    for name, value in sizes.items():
        if value is not None and value < 1:
            raise ValueError(f"expected a positive {name}, got {value}")


def as_shares(inputs: Tensor, like: Tensor) -> Tensor:
    """Give pictures [N, C, H, W] as floats in 0..1, of the type of `like`; uint8 counts in 255ths."""
    values = inputs.to(like.dtype)
    return values / 255 if inputs.dtype == torch.uint8 else values


def with_channels_last(values: Tensor) -> Tensor:
    """Copy pictures [N, C, H, W] with their channels last in memory, grey ones too.

    `contiguous` leaves one channel as it is. Convolutions then go by the layout of their kernel, which adapted ones have lost.
    """
    # Not by `memory_format`, which vmap does not know.
    return values.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).permute(0, 3, 1, 2)


def convolved(layer: str, params: Params, values: Tensor, *, stride: int = 1) -> Tensor:
    """Convolve values [N, C, H, W] by the layer's square kernel, padded so that only the stride makes them smaller."""
    # Beside a norm a bias is there once that has been folded into the convolution.
    weight, bias = params[f"{layer}conv.weight"], params.get(f"{layer}conv.bias")
    return F.conv2d(values, weight, bias, stride=stride, padding=weight.shape[-1] // 2)


def normalised(norm: Norm, layer: str, params: Params, values: Tensor, *, normalise: Normalise, groups: int) -> Tensor:
    """Normalise values [N, C, H, W] by the layer's `<layer>norm.weight` and `<layer>norm.bias`, as the encoder's norm says."""
    if norm == "none":
        return values
    if norm == "group":
        return F.group_norm(values, groups, params[f"{layer}norm.weight"], params[f"{layer}norm.bias"])
    return normalise(layer, params, values)


def initial_norm(norm: Norm, layer: str, width: int) -> dict[str, Tensor]:
    """Give the parameters of a layer's norm: it changes nothing yet; half of what task norm blends is the support set's."""
    if norm == "none":
        return {}
    own = {f"{layer}norm.weight": torch.ones(width), f"{layer}norm.bias": torch.zeros(width)}
    return own | {f"{layer}norm.blend": torch.zeros(2)} if norm == "task" else own


# The context parameters of a task, which the inner loop moves from zero.
CONTEXT = "context.values"


def modulated(layer: str, params: Params, values: Tensor) -> Tensor:
    """Scale and shift every channel of values [N, C, H, W] by what the layer makes of the context parameters; none leave it as it is.

    Source: Perez et al. (2018), FiLM, arXiv:1709.07871, as Zintgraf et al. (2019), arXiv:1810.03642, use it.
    """
    if CONTEXT not in params:
        return values
    gain, shift = (params[f"{layer}film.weight"] @ params[CONTEXT]).view(2, 1, -1, 1, 1)
    changed: Tensor = values * (1 + gain) + shift
    return changed


def activate(kind: Activation, values: Tensor) -> Tensor:
    """Apply the non-linearity; `softplus` is the smooth one, for finite differences."""
    return F.relu(values, inplace=True) if kind == "relu" else F.softplus(values, beta=4)


def fresh_convolution(layer: str, sizes: tuple[int, int, int], norm: Norm, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw a square convolution of (inputs, outputs, side) with its norm; it needs no bias, since the norm has one."""
    inputs, outputs, side = sizes
    return {f"{layer}conv.weight": he_normal((outputs, inputs, side, side), generator), **initial_norm(norm, layer, outputs)}


def he_normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw weights [out, in, ...] for a rectifier (He et al. 2015, arXiv:1502.01852)."""
    fan_in = torch.Size(shape[1:]).numel()
    return torch.randn(tuple(shape), generator=generator) * math.sqrt(2 / fan_in)
