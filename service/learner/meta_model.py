"""A meta-model: an encoder, a recipe and what meta-training learned for both."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from service.learner import heads, losses
from service.learner.encoders.encoder import CONTEXT, Encoder, Normalise
from service.learner.episodes import Support
from service.learner.inner_loop import Start, initial_rate, inner_loop, nothing_more, rate_name, step_sizes
from service.learner.parameters import Params, channels_last, detached, moved_to, under
from service.learner.recipe import Recipe, Scope
from service.learner.statistics import KEPT, FrozenStatistics, KeptStatistics, SupportStatistics, already_normalised, folded, kept_shapes
from service.learner.views import with_views

# Parameters and inputs to embeddings; a norm that needs a task's own moments is told where they come from.
Encode = Callable[[Params, Tensor, Normalise | None], Tensor]


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

    def embed(self, inputs: Tensor, params: Params | None = None, normalise: Normalise | None = None) -> Tensor:
        """Embed inputs [N, ...] as [N, D] with frozen statistics, or those that a support set left, so that no row depends on another."""
        params = self.params if params is None else params
        return self.encoder(params, inputs, self._frozen(params) if normalise is None else normalise)

    def embed_support(self, support: Support) -> Tensor:
        """Embed a support set, `support.inputs` as the encoder reads them, before any inner step: [N, D]."""
        own = SupportStatistics(losses.support_weights(support.labels, support.way))
        return self.embed(support.inputs, normalise=own if self.encoder.norm == "task" else None)

    def _frozen(self, params: Params) -> Normalise:
        if self.encoder.norm == "task":
            return KeptStatistics(params)
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


def require_fitting(encoder: Encoder, recipe: Recipe) -> None:
    """Refuse an encoder and a recipe that do not go together; raises ValueError."""
    if recipe.moves_body and encoder.norm == "batch":
        raise ValueError(
            f"scope {recipe.scope!r} moves the body, and batch norm's frozen statistics would not fit the moved weights;"
            " use norm = 'group' or 'task' in [encoder], or scope = 'head' in [recipe]"
        )
    if encoder.norm == "task" and (not recipe.moves_body or recipe.support_batch):
        raise ValueError(
            "task norm takes its moments from a whole support set, for scopes that move the body;"
            " use norm = 'batch' or 'group' with scope `head` or a support_batch"
        )
    if (recipe.scope == "context") != (encoder.context > 0):
        raise ValueError(
            f"scope `context` moves the encoder's context parameters, and nothing else does; got scope {recipe.scope!r}"
            f" and an encoder with context = {encoder.context}"
        )


def initial_params(encoder: Encoder, recipe: Recipe, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the parameters that meta-training starts from."""
    params = {**encoder.initial(generator), **heads.learned_head(recipe, encoder.embedding, generator)}
    if not recipe.learn_rates:
        return params
    rates = {rate_name(recipe, name): initial_rate(recipe, shape) for name, shape in _rate_shapes(encoder, recipe, params).items()}
    return {**params, **dict(sorted(rates.items()))}


def _rate_shapes(encoder: Encoder, recipe: Recipe, params: Params) -> dict[str, torch.Size]:
    """Name the parameters that the inner loop moves, with the shape of a step size for each number; the rows of a head share theirs."""
    body = {name: value.shape for name, value in _moved_body(encoder, recipe.scope, params).items()}
    head = {"head.weight": torch.Size([encoder.embedding]), "head.bias": torch.Size([])}
    return body | head if recipe.moves_head else body


def moved_blocks(encoder: Encoder, scope: Scope) -> tuple[str, ...]:
    """Give the parameter prefixes of the encoder that a scope moves."""
    return {"head": (), "context": (), "last_block": encoder.blocks[-1:], "body": encoder.blocks, "all": encoder.blocks}[scope]


def _moved_body(encoder: Encoder, scope: Scope, params: Params) -> dict[str, Tensor]:
    """Give what a scope moves of the encoder; context parameters start from zero, whatever was learned."""
    if scope == "context":
        return {CONTEXT: next(iter(params.values())).new_zeros(encoder.context)}
    return under(params, moved_blocks(encoder, scope))


def adapted_shapes(model: MetaModel, way: int) -> dict[str, torch.Size]:
    """Give the name and shape of every parameter that adapting to so many classes leaves."""
    body = {name: value.shape for name, value in _moved_body(model.encoder, model.recipe.scope, model.params).items()}
    head = {"head.weight": torch.Size([way, model.encoder.embedding]), "head.bias": torch.Size([way])}
    return body | head | (kept_shapes(model.params) if model.recipe.moves_body else {})


def head_start(params: Params, recipe: Recipe, support: Support) -> Start:
    """Begin a task whose inner loop moves the head only; `support.inputs` are embeddings [N, D]."""
    factor, weights = heads.scale(params), losses.support_weights(support.labels, support.way).to(support.inputs.dtype)
    head = heads.initial_head(params, recipe, support.inputs, losses.one_hot(support.labels, support.way, support.inputs), weights)
    return Start(
        moved=head,
        fixed={},
        features=support.inputs,
        labels=support.labels,
        weights=weights,
        logits=lambda moved, embeddings: heads.logits(moved, embeddings, factor),
        step_sizes=step_sizes(params, recipe, list(head)),
        recipe=recipe,
    )


def body_start(encoder: Encoder, recipe: Recipe, params: Params, encode: Encode, support: Support) -> Start:
    """Begin a task whose inner loop moves encoder parameters."""
    like = next(iter(params.values()))
    weights = losses.support_weights(support.labels, support.way).to(like.dtype)

    def encoded(whole: Params, inputs: Tensor) -> Tensor:
        return encode(whole, inputs, _task_statistics(encoder, whole, weights))

    first = encoded(params, support.inputs) if heads.reads_support(recipe) else like.new_zeros(len(support.labels), encoder.embedding)
    head = heads.initial_head(params, recipe, first, losses.one_hot(support.labels, support.way, first), weights)
    body = _moved_body(encoder, recipe.scope, params)
    moved, fixed = ({**body, **head}, {}) if recipe.moves_head else (body, head)
    factor = heads.scale(params)

    def logits(moved: Params, inputs: Tensor) -> Tensor:
        whole = {**params, **fixed, **moved}
        return heads.logits(whole, encoded(whole, inputs), factor)

    def with_moments(moved: Params) -> Params:
        own = SupportStatistics(weights)
        encode({**params, **fixed, **moved}, support.inputs, own)
        return {**moved, **own.kept}

    return Start(
        moved=moved,
        fixed=fixed,
        features=support.inputs,
        labels=support.labels,
        weights=weights,
        logits=logits,
        step_sizes=step_sizes(params, recipe, list(moved)),
        recipe=recipe,
        conclude=with_moments if encoder.norm == "task" else nothing_more,
    )


def _task_statistics(encoder: Encoder, whole: Params, weights: Tensor) -> Normalise | None:
    """Say where task norm gets its moments: those the support set left, once it has; until then what it sees is the support set."""
    if encoder.norm != "task":
        return None
    return KeptStatistics(whole) if any(name.startswith(KEPT) for name in whole) else SupportStatistics(weights)


def begin(model: MetaModel, support: Support) -> Start:
    """Begin a task as served: frozen statistics, every view of every example, `support.inputs` as the encoder reads them."""
    support = with_views(support, model.recipe.views)
    if not model.recipe.moves_body:
        embedded = Support(model.embed(support.inputs), support.labels, support.way)
        return head_start(model.params, model.recipe, embedded)

    def encode(params: Params, inputs: Tensor, normalise: Normalise | None) -> Tensor:
        return model.embed(inputs, params, normalise)

    return body_start(model.encoder, model.recipe, model.params, encode, support)


def adapt(model: MetaModel, support: Support, steps: int) -> Adapted:
    """Take inner steps on one support set; the reference that every faster path must equal."""
    with torch.no_grad():
        start = begin(model, support)
    return stepped(start, steps)


@torch.no_grad()
def stepped(start: Start, steps: int) -> Adapted:
    """Take inner steps from a start, as served."""
    trail = list(itertools.islice(inner_loop(start), steps))
    moved = trail[-1].moved if trail else start.moved
    losses_seen = [*(float(step.loss_before) for step in trail), float(start.loss(moved))]
    return Adapted(detached({**start.fixed, **start.conclude(moved)}), tuple(losses_seen))


def answer(model: MetaModel, adapted: Params, queries: Tensor) -> Tensor:
    """Give the logits [M, way] of queries [M, ...], or the numbers [M, outputs] that a regression predicts."""
    with torch.no_grad():
        embeddings = model.embed(queries, {**model.params, **adapted})
        return heads.logits(adapted, embeddings, heads.scale(model.params))


def predict(model: MetaModel, adapted: Params, queries: Tensor) -> Tensor:
    """Give class probabilities [M, way] of queries [M, ...]."""
    return answer(model, adapted, queries).softmax(dim=1)
