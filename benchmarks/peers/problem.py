"""One task as every peer gets it: a module, what it reads, and the step size of each parameter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers.plain_modules import Head, Whole
from service.learner import heads
from service.learner.encoders.encoder import as_shares
from service.learner.episodes import Support
from service.learner.inner_loop import step_sizes
from service.learner.losses import one_hot
from service.learner.meta_model import MetaModel
from service.learner.parameters import Params
from service.learner.views import with_views


@dataclass(frozen=True, slots=True)
class Problem:
    """What the inner loop of one task works on.

    Attributes:
        module: maps features to logits [N, way]; its parameters are what moves.
        features: embeddings [N, D] for a head, pictures [N, C, H, W] for a whole model.
        balance: [way], what a class's examples count, so that every class counts the same.
        rates: step sizes, in the order of the module's parameters.
        prefix: what the meta-model puts before the names of the module's parameters.
    """

    module: nn.Module
    features: Tensor
    labels: Tensor
    balance: Tensor
    rates: tuple[float, ...]
    prefix: str

    def loss(self, logits: Tensor) -> Tensor:
        """Class-balanced cross-entropy; the weighted mean divides by the sum of the weights, which is the number of classes."""
        return F.cross_entropy(logits, self.labels, weight=self.balance)

    @property
    def rate(self) -> float:
        """The one step size; raises ValueError when there are several."""
        if len(set(self.rates)) > 1:
            raise ValueError(f"expected one step size for all parameters, got {sorted(set(self.rates))}")
        return self.rates[0]

    def adapted(self, values: Mapping[str, Tensor]) -> Params:
        """Name adapted parameters as the meta-model does, from the module's own names."""
        stretch = self.module.stretch if isinstance(self.module, Head) else 1.0
        return {
            f"{self.prefix}{name}": (stretch * value if name == "bias" and stretch != 1 else value).detach()
            for name, value in values.items()
        }


# Takes so many inner steps and gives the adapted parameters.
TakeSteps = Callable[[Problem, int], Params]


@dataclass(frozen=True, slots=True)
class HeadSetup:
    """What a meta-model says of head adaptation, as plain numbers read once."""

    weight_rate: float
    bias_rate: float
    factor: float

    @classmethod
    def of(cls, model: MetaModel) -> "HeadSetup":
        """Read a meta-model's step sizes and scale."""
        (rates,) = step_sizes(model.params, model.recipe, ["head.weight", "head.bias"])
        return cls(float(rates["head.weight"]), float(rates["head.bias"]), float(heads.scale(model.params)))

    def problem(self, embeddings: Tensor, support: Support, *, one_rate: bool) -> Problem:
        """Begin a task from its embeddings [N, D] at the prototypes, the bias stretched for a library that has one step size."""
        start = heads.prototype_head(heads.prototypes(embeddings, one_hot(support.labels, support.way, embeddings)))
        stretch = (self.bias_rate / self.weight_rate) ** 0.5 if one_rate else 1.0
        head = Head(start["head.weight"], start["head.bias"], factor=self.factor, stretch=stretch)
        rates = (self.weight_rate, self.weight_rate if one_rate else self.bias_rate)
        return Problem(head, embeddings, support.labels, class_weights(support), rates, "head.")


def whole_problem(whole: Whole, support: Support, rate: float) -> Problem:
    """Begin a task that moves every parameter of a model."""
    count = sum(1 for _ in whole.parameters())
    return Problem(whole, support.inputs, support.labels, class_weights(support), (rate,) * count, "")


def class_weights(support: Support) -> Tensor:
    """Give one over the shots of each class: [way]."""
    return 1 / torch.bincount(support.labels, minlength=support.way)


def as_peers_read(support: Support, *, views: int, device: torch.device) -> Support:
    """Give every view of the support set as float32 in 0..1 on the device: what a peer need not do while the clock runs."""
    seen = with_views(support, views)
    return replace(seen, inputs=as_shares(seen.inputs, torch.empty(0)).to(device), labels=seen.labels.to(device))
