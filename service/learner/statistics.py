"""Where norms get their moments. Serving and every reported figure use frozen ones: no prediction depends on its batch mates."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.encoder import Encoder
from service.learner.parameters import Params

EPSILON = 1e-5

# Where adapted weights keep the moments that their support set left.
KEPT = "moments."


def episode_statistics(layer: str, params: Params, values: Tensor) -> Tensor:
    """Normalise by the moments of this very batch: for meta-training only."""
    return F.batch_norm(values, None, None, params[f"{layer}norm.weight"], params[f"{layer}norm.bias"], training=True, eps=EPSILON)


@dataclass(frozen=True, slots=True)
class FrozenStatistics:
    """Normalise by moments measured once: `<layer>mean` and `<layer>variance`, each [C]."""

    moments: Params

    def __call__(self, layer: str, params: Params, values: Tensor) -> Tensor:
        mean, variance = self.moments[f"{layer}mean"], self.moments[f"{layer}variance"]
        weight, bias = params[f"{layer}norm.weight"], params[f"{layer}norm.bias"]
        return F.batch_norm(values, mean, variance, weight, bias, training=False, eps=EPSILON)


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Keep the moments of a batch, and normalise by exactly what is kept, as the frozen ones will."""

    moments: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, layer: str, params: Params, values: Tensor) -> Tensor:
        axes = [axis for axis in range(values.dim()) if axis != 1]
        variance, mean = torch.var_mean(values, dim=axes, correction=0)
        self.moments[f"{layer}mean"], self.moments[f"{layer}variance"] = mean, variance
        return FrozenStatistics(self.moments)(layer, params, values)


def already_normalised(layer: str, params: Params, values: Tensor) -> Tensor:  # noqa: ARG001 - one rule for every layer
    """Leave values as they are: `folded` has put the statistics into the convolution before."""
    return values


@dataclass(frozen=True, slots=True)
class SupportStatistics:
    """Normalise a support set by its own moments, every class alike, blended with those of each example; keep what queries need.

    With the share of the blend and the moments [C] in `kept`, a query is normalised without the support set or its batch
    mates (`KeptStatistics`). The share is learned, from the size of the support set: sigmoid(scale·N + offset). An example of
    weight zero, which pads a batch, has no part in it.

    Source: Bronskill, Gordon, Requeima, Nowozin and Turner (2020), TaskNorm, arXiv:2003.03284; the layer kind (TaskNorm-L).
    """

    weights: Tensor
    kept: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, layer: str, params: Params, values: Tensor) -> Tensor:
        mean, variance = _moments(values, self.weights)
        blend = params[f"{layer}norm.blend"]
        names = (f"{KEPT}{layer}mean", f"{KEPT}{layer}variance", f"{KEPT}{layer}share")
        counted = (self.weights > 0).sum()
        self.kept.update(zip(names, (mean, variance, torch.sigmoid(blend[0] * counted + blend[1])), strict=True))
        return KeptStatistics(self.kept)(layer, params, values)


@dataclass(frozen=True, slots=True)
class KeptStatistics:
    """Normalise by the moments that a support set left, blended with those of each input alone (see `SupportStatistics`)."""

    kept: Params

    def __call__(self, layer: str, params: Params, values: Tensor) -> Tensor:
        mean, variance, share = (_channels(self.kept[f"{KEPT}{layer}{moment}"], values) for moment in ("mean", "variance", "share"))
        own_variance, own_mean = torch.var_mean(values, dim=list(range(1, values.dim())), correction=0, keepdim=True)
        centre = share * mean + (1 - share) * own_mean
        spread = share * (variance + (mean - centre).square()) + (1 - share) * (own_variance + (own_mean - centre).square())
        weight, bias = (_channels(params[f"{layer}norm.{name}"], values) for name in ("weight", "bias"))
        return (values - centre) * torch.rsqrt(spread + EPSILON) * weight + bias


def _moments(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Give the weighted mean and variance [C] of every channel of values [N, C, ...]; weights [N] sum to one."""
    per_example = values.flatten(2) if values.dim() > 2 else values.unsqueeze(2)
    mean = torch.einsum("n,nc->c", weights.to(values), per_example.mean(dim=2))
    squares = (per_example - mean.view(1, -1, 1)).square().mean(dim=2)
    return mean, torch.einsum("n,nc->c", weights.to(values), squares)


def _channels(moment: Tensor, values: Tensor) -> Tensor:
    """Lay a number of each channel [C], or one for all, along the second axis of values [N, C, ...]."""
    return moment.view(1, -1, *[1] * (values.dim() - 2))


def kept_shapes(params: Params) -> dict[str, torch.Size]:
    """Give the name and shape of every moment that a support set leaves in an encoder with these parameters."""
    layers = [name.removesuffix("norm.blend") for name in params if name.startswith("encoder.") and name.endswith("norm.blend")]
    channels = {layer: params[f"{layer}norm.bias"].shape for layer in layers}
    shapes = {(layer, moment): channels[layer] for layer in layers for moment in ("mean", "variance")}
    return {f"{KEPT}{layer}{moment}": shape for (layer, moment), shape in shapes.items()} | {
        f"{KEPT}{layer}share": torch.Size([]) for layer in layers
    }


def folded(params: Params, moments: Params) -> dict[str, Tensor]:
    """Put frozen batch norm into the convolutions before it, for `already_normalised`: the same embeddings in one pass fewer a layer."""
    changed = dict(params)
    for layer in (name.removesuffix("mean") for name in moments if name.endswith(".mean")):
        gain = params[f"{layer}norm.weight"] * torch.rsqrt(moments[f"{layer}variance"] + EPSILON)
        before = params.get(f"{layer}conv.bias", torch.zeros_like(gain))
        changed[f"{layer}conv.weight"] = params[f"{layer}conv.weight"] * gain[:, None, None, None]
        changed[f"{layer}conv.bias"] = (before - moments[f"{layer}mean"]) * gain + params[f"{layer}norm.bias"]
    return changed


@torch.no_grad()
def measure(encoder: Encoder, params: Params, inputs: Tensor) -> dict[str, Tensor]:
    """Measure the moments to freeze, in one pass over a fixed sample of training inputs [N, ...].

    One pass with the final (averaged) parameters, rather than a running average over training: the moments then
    belong to the weights that are served. Empty for an encoder without batch norm.
    """
    if encoder.norm != "batch":
        return {}
    recorder = _Recorder()
    encoder(params, inputs, recorder)
    return recorder.moments
