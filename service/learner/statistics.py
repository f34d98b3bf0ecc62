"""Where batch norm gets its moments. Serving and every reported figure use frozen ones: no prediction depends on its batch mates."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.encoder import Encoder
from service.learner.parameters import Params

EPSILON = 1e-5


def episode_statistics(layer: str, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ARG001 - one rule for every layer
    """Normalise by the moments of this very batch: for meta-training only."""
    return F.batch_norm(values, None, None, weight, bias, training=True, eps=EPSILON)


@dataclass(frozen=True, slots=True)
class FrozenStatistics:
    """Normalise by moments measured once: `<layer>mean` and `<layer>variance`, each [C]."""

    moments: Params

    def __call__(self, layer: str, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mean, variance = self.moments[f"{layer}mean"], self.moments[f"{layer}variance"]
        return F.batch_norm(values, mean, variance, weight, bias, training=False, eps=EPSILON)


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Keep the moments of a batch, and normalise by exactly what is kept, as the frozen ones will."""

    moments: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, layer: str, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        axes = [axis for axis in range(values.dim()) if axis != 1]
        variance, mean = torch.var_mean(values, dim=axes, correction=0)
        self.moments[f"{layer}mean"], self.moments[f"{layer}variance"] = mean, variance
        return FrozenStatistics(self.moments)(layer, values, weight, bias)


def already_normalised(layer: str, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ARG001 - one rule for every layer
    """Leave values as they are: `folded` has put the statistics into the convolution before."""
    return values


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
