"""A meta-model: an encoder, a recipe and what meta-training learned for both."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from service.learner import heads
from service.learner.encoders.encoder import Encoder, Normalise
from service.learner.episodes import Support
from service.learner.inner_loop import Start, inner_loop, rate_name, step_sizes
from service.learner.losses import balanced_weights
from service.learner.parameters import Params, channels_last, detached, moved_to, under
from service.learner.recipe import Recipe, Scope
from service.learner.statistics import FrozenStatistics, already_normalised, folded
from service.learner.views import with_views

Encode = Callable[[Params, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class MetaModel:
    """A meta-learned initialisation and how it adapts; never changed by adapting.

    Attributes:
        params: `encoder.*`, what the head learned (`head.*`) and learned step sizes (`rate.*`, logarithms).
        statistics: frozen moments of batch norm; empty for other norms.
        folded: the statistics are already in the convolutions (see `fold`).
        spread: how far examples are from the centre of their class (see `familiarity`); None where it was not measured.
    """

    encoder: Encoder
    recipe: Recipe
    params: Params
    statistics: Params
    folded: bool = False
    spread: float | None = None

    def embed(self, inputs: Tensor, params: Params | None = None) -> Tensor:
        """Embed inputs [N, ...] as [N, D] with frozen statistics, so that no row depends on another."""
        return self.encoder(self.params if params is None else params, inputs, self.normalise)

    @property
    def normalise(self) -> Normalise:
        return already_normalised if self.folded else FrozenStatistics(self.statistics)


def fold(model: MetaModel) -> MetaModel:
    """Give the same meta-model as it is served: frozen batch norm folded into the convolutions, kernels with their channels last."""
    params = folded(model.params, model.statistics) if model.encoder.norm == "batch" else model.params
    return replace(model, params=channels_last(params), folded=True)


def as_served(model: MetaModel, device: torch.device) -> MetaModel:
    """Give a meta-model on a device, folded."""
    return fold(replace(model, params=moved_to(model.params, device), statistics=moved_to(model.statistics, device)))


@dataclass(frozen=True, slots=True)
class Adapted:
    """What adapting leaves: the parameters of the task, and the support loss before the first step and after each."""

    params: Params
    losses: tuple[float, ...]


def initial_params(encoder: Encoder, recipe: Recipe, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the parameters that meta-training starts from."""
    params = {**encoder.initial(generator), **heads.learned_head(recipe, encoder.embedding)}
    if recipe.learn_rates:
        names = sorted({rate_name(recipe, name) for name in moved_names(encoder, recipe, params)})
        params |= {name: torch.tensor(recipe.step_size).log() for name in names}
    return params


def moved_names(encoder: Encoder, recipe: Recipe, params: Params) -> list[str]:
    """Name the parameters that the inner loop moves."""
    head = [] if recipe.scope == "body" else ["head.weight", "head.bias"]
    return list(under(params, moved_blocks(encoder, recipe.scope))) + head if recipe.moves_body else head


def moved_blocks(encoder: Encoder, scope: Scope) -> tuple[str, ...]:
    """Give the parameter prefixes of the encoder that a scope moves."""
    return {"head": (), "last_block": encoder.blocks[-1:], "body": encoder.blocks, "all": encoder.blocks}[scope]


def adapted_shapes(model: MetaModel, way: int) -> dict[str, torch.Size]:
    """Give the name and shape of every parameter that adapting to so many classes leaves."""
    body = under(model.params, moved_blocks(model.encoder, model.recipe.scope))
    head = {"head.weight": torch.Size([way, model.encoder.embedding]), "head.bias": torch.Size([way])}
    return {name: value.shape for name, value in body.items()} | head


def head_start(params: Params, recipe: Recipe, support: Support) -> Start:
    """Begin a task whose inner loop moves the head only; `support.inputs` are embeddings [N, D]."""
    factor = heads.scale(params)
    head = heads.initial_head(params, recipe, heads.prototypes(support.inputs, support.labels, support.way))
    return Start(
        moved=head,
        fixed={},
        features=support.inputs,
        labels=support.labels,
        weights=balanced_weights(support.labels, support.way).to(support.inputs.dtype),
        logits=lambda moved, embeddings: heads.logits(moved, embeddings, factor),
        step_sizes=step_sizes(params, recipe, list(head)),
    )


def body_start(encoder: Encoder, recipe: Recipe, params: Params, encode: Encode, support: Support) -> Start:
    """Begin a task whose inner loop moves encoder parameters; `encode` maps (parameters, inputs) to embeddings."""
    head = heads.initial_head(params, recipe, _centres(encoder, recipe, params, encode, support))
    body = under(params, moved_blocks(encoder, recipe.scope))
    moved, fixed = (body, head) if recipe.scope == "body" else ({**body, **head}, {})
    factor = heads.scale(params)

    def logits(moved: Params, inputs: Tensor) -> Tensor:
        whole = {**params, **fixed, **moved}
        return heads.logits(whole, encode(whole, inputs), factor)

    return Start(
        moved=moved,
        fixed=fixed,
        features=support.inputs,
        labels=support.labels,
        weights=balanced_weights(support.labels, support.way).to(head["head.bias"].dtype),
        logits=logits,
        step_sizes=step_sizes(params, recipe, list(moved)),
    )


def _centres(encoder: Encoder, recipe: Recipe, params: Params, encode: Encode, support: Support) -> Tensor:
    """Give the prototypes of a support set of inputs, [way, D]; zeros, of their shape, for a head that does not start from them."""
    if recipe.head == "prototype":
        return heads.prototypes(encode(params, support.inputs), support.labels, support.way)
    return next(iter(params.values())).new_zeros(support.way, encoder.embedding)


def begin(model: MetaModel, support: Support) -> Start:
    """Begin a task as served: frozen statistics, every view of every example, `support.inputs` as the encoder reads them."""
    support = with_views(support, model.recipe.views)
    if not model.recipe.moves_body:
        embedded = Support(model.embed(support.inputs), support.labels, support.way)
        return head_start(model.params, model.recipe, embedded)
    return body_start(model.encoder, model.recipe, model.params, lambda params, inputs: model.embed(inputs, params), support)


def adapt(model: MetaModel, support: Support, steps: int) -> Adapted:
    """Take inner steps on one support set; the reference that every faster path must equal."""
    with torch.no_grad():
        start = begin(model, support)
        trail = list(itertools.islice(inner_loop(start), steps))
        moved = trail[-1].moved if trail else start.moved
        losses = [*(float(step.loss_before) for step in trail), float(start.loss(moved))]
    return Adapted(detached({**start.fixed, **moved}), tuple(losses))


def predict(model: MetaModel, adapted: Params, queries: Tensor) -> Tensor:
    """Give class probabilities [M, way] of queries [M, ...]."""
    with torch.no_grad():
        embeddings = model.embed(queries, {**model.params, **adapted})
        return heads.logits(adapted, embeddings, heads.scale(model.params)).softmax(dim=1)
