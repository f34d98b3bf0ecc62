"""The encoders and heads of the meta-models as a user of PyTorch writes them: `torch.nn` modules with the very same weights."""

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.encoder import Norm
from service.learner.encoders.residual import Residual
from service.learner.meta_model import MetaModel
from service.learner.statistics import EPSILON


def norm_of(kind: Norm, channels: int, groups: int) -> nn.Module:
    """Give the layer that normalises so many channels."""
    if kind == "none":
        return nn.Identity()
    return nn.BatchNorm2d(channels, eps=EPSILON) if kind == "batch" else nn.GroupNorm(groups, channels)


class Convolved(nn.Module):
    """A convolution and its norm: [N, inputs, H, W] → [N, outputs, H / stride, W / stride]."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.Module) -> None:
        super().__init__()
        self.conv = convolution
        self.norm = norm

    def forward(self, values: Tensor) -> Tensor:
        return self.norm(self.conv(values))  # type: ignore[no-any-return]


class Block(Convolved):
    """One block of four: convolution, norm, non-linearity and, when asked, 2×2 maxima."""

    def __init__(self, encoder: Conv4, inputs: int) -> None:
        stride = 2 if encoder.downsample == "stride" else 1
        norm = norm_of(encoder.norm, encoder.width, encoder.groups)
        super().__init__(nn.Conv2d(inputs, encoder.width, 3, stride=stride, padding=1), norm)
        self.activation = nn.ReLU() if encoder.activation == "relu" else nn.Softplus(beta=4)
        self.pool = nn.Identity() if stride == 2 else nn.MaxPool2d(2)

    def forward(self, values: Tensor) -> Tensor:
        return self.pool(self.activation(super().forward(values)))  # type: ignore[no-any-return]


class PlainConv4(nn.Module):
    """Four blocks, flattened and, when asked, projected: pictures [N, C, H, W] in 0..1 → [N, D]."""

    def __init__(self, encoder: Conv4, flattened: int) -> None:
        super().__init__()
        self.block1 = Block(encoder, encoder.channels)
        self.block2, self.block3, self.block4 = (Block(encoder, encoder.width) for _ in range(3))
        self.projection = nn.Linear(flattened, encoder.projection, bias=False) if encoder.projection else nn.Identity()

    def forward(self, pictures: Tensor) -> Tensor:
        values = self.block4(self.block3(self.block2(self.block1(pictures))))
        return self.projection(values.flatten(1))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, encoder: Residual, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.first = _convolved(encoder, inputs, outputs, side=3, stride=stride)
        self.second = _convolved(encoder, outputs, outputs, side=3, stride=1)
        self.shortcut = nn.Identity() if stride == 1 else _convolved(encoder, inputs, outputs, side=1, stride=stride)

    def forward(self, values: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(values))) + self.shortcut(values))


class PlainResidual(nn.Module):
    """A stem and residual blocks, flattened and projected: pictures [N, C, H, W] in 0..1 → [N, D]."""

    def __init__(self, encoder: Residual, flattened: int) -> None:
        super().__init__()
        self.stem = _convolved(encoder, encoder.channels, encoder.widths[0], side=3, stride=2)
        self.depth = len(encoder.widths)
        for index, outputs in enumerate(encoder.widths):
            inputs = encoder.widths[max(0, index - 1)]
            self.add_module(f"block{index + 1}", ResidualBlock(encoder, inputs, outputs, stride=1 if index == 0 else 2))
        self.projection = nn.Linear(flattened, encoder.projection, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        values = F.relu(self.stem(pictures))
        for index in range(self.depth):
            values = self.get_submodule(f"block{index + 1}")(values)
        return self.projection(values.flatten(1))  # type: ignore[no-any-return]


def _convolved(encoder: Residual, inputs: int, outputs: int, *, side: int, stride: int) -> Convolved:
    convolution = nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2, bias=False)
    return Convolved(convolution, norm_of(encoder.norm, outputs, encoder.groups))


class Head(nn.Module):
    """A linear head: embeddings [N, D] → logits [N, way], times a constant factor.

    `stretch` is a factor on the bias. A library with one step size for all parameters then moves the bias at the
    meta-model's own: a stretch of √(bias rate / weight rate) does so exactly.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, factor: float = 1.0, stretch: float = 1.0) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias / stretch)
        self.factor, self.stretch = factor, stretch

    def forward(self, embeddings: Tensor) -> Tensor:
        bias = self.bias if self.stretch == 1 else self.stretch * self.bias
        logits = F.linear(embeddings, self.weight, bias)
        return logits if self.factor == 1 else self.factor * logits


class Whole(nn.Module):
    """An encoder and a head: pictures [N, C, H, W] in 0..1 → logits [N, way]; parameters are named as in the meta-model."""

    def __init__(self, encoder: nn.Module, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.encoder(pictures))  # type: ignore[no-any-return]


def plain_encoder(model: MetaModel, device: torch.device) -> nn.Module:
    """Give a meta-model's encoder as a module, in evaluation mode; raises typer.BadParameter for one that is not written here."""
    projection = model.params.get("encoder.projection.weight")
    flattened = model.encoder.embedding if projection is None else projection.shape[1]
    if isinstance(model.encoder, Conv4):
        module: nn.Module = PlainConv4(model.encoder, flattened)
    elif isinstance(model.encoder, Residual):
        module = PlainResidual(model.encoder, flattened)
    else:
        raise typer.BadParameter(f"expected an encoder among Conv4 and Residual, got {type(model.encoder).__name__}")
    module.load_state_dict({**_parameters(model), **_moments(model)})
    return module.to(device).eval()


def _parameters(model: MetaModel) -> dict[str, Tensor]:
    return {name.removeprefix("encoder."): value for name, value in model.params.items() if name.startswith("encoder.")}


def _moments(model: MetaModel) -> dict[str, Tensor]:
    """Name frozen moments as `nn.BatchNorm2d` does: `encoder.stem.mean` is `stem.norm.running_mean`."""
    named = {"mean": "norm.running_mean", "variance": "norm.running_var"}
    found = {}
    for name, value in model.statistics.items():
        layer, _, moment = name.removeprefix("encoder.").rpartition(".")
        found[f"{layer}.{named[moment]}"] = value
    return found


def fold_norms(encoder: nn.Module) -> nn.Module:
    """Put frozen batch norm into the convolutions of an encoder, in place; gives the encoder."""
    for module in encoder.modules():
        if isinstance(module, Convolved) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), nn.Identity()
    return encoder
