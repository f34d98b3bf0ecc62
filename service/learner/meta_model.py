"""A meta-model: an encoder, a recipe and what meta-training learned for both."""

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from service.learner import heads, losses
from service.learner.encoders.encoder import Encoder, Normalise
from service.learner.episodes import Support
from service.learner.inner_loop import Start, initial_rate, inner_loop, rate_name
from service.learner.parameters import Params, channels_last, detached, moved_to
from service.learner.recipe import Recipe
from service.learner.starts import Learner, body_start, head_start, moved_body
from service.learner.statistics import FrozenStatistics, KeptStatistics, SupportStatistics, already_normalised, folded, kept_shapes
from service.learner.views import with_views


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
    if recipe.scope == "body" and not encoder.blocks:
        raise ValueError("scope `body` moves the encoder alone, and this one has nothing to move; use scope = 'head' in [recipe]")
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
    body = {name: value.shape for name, value in moved_body(encoder, recipe.scope, params).items()}
    head = {"head.weight": torch.Size([encoder.embedding]), "head.bias": torch.Size([])}
    return body | head if recipe.moves_head else body


def adapted_shapes(model: MetaModel, way: int) -> dict[str, torch.Size]:
    """Give the name and shape of every parameter that adapting to so many classes leaves."""
    return body_shapes(model) | {"head.weight": torch.Size([way, model.encoder.embedding]), "head.bias": torch.Size([way])}


def body_shapes(model: MetaModel) -> dict[str, torch.Size]:
    """Give the name and shape of what adapting leaves beside the head: encoder parameters that moved, and moments."""
    body = {name: value.shape for name, value in moved_body(model.encoder, model.recipe.scope, model.params).items()}
    return body | (kept_shapes(model.params) if model.recipe.moves_body else {})


def begin(model: MetaModel, support: Support) -> Start:
    """Begin a task as served: frozen statistics, every view of every example, `support.inputs` as the encoder reads them."""
    support = with_views(support, model.recipe.views)
    if model.recipe.moves_body:
        return body_start(as_learner(model), support)
    embedded = Support(model.embed(support.inputs), support.labels, support.way)
    return head_start(model.params, model.recipe, embedded)


def as_learner(model: MetaModel) -> Learner:
    """Give a meta-model as what adapts the way it is served."""

    def encode(params: Params, inputs: Tensor, normalise: Normalise | None) -> Tensor:
        return model.embed(inputs, params, normalise)

    return Learner(model.params, model.recipe, model.encoder, encode)


def adapt(model: MetaModel, support: Support, steps: int) -> Adapted:
    """Take inner steps on one support set; the reference that every faster path must equal."""
    with torch.no_grad():
        start = begin(model, support)
    return stepped(start, steps)


def stepped(start: Start, steps: int) -> Adapted:
    """Take inner steps from the start of one task, as served."""
    params, seen = after_steps(start, steps)
    return Adapted(params, tuple(seen.tolist()))


@torch.no_grad()
def after_steps(start: Start, steps: int) -> tuple[dict[str, Tensor], Tensor]:
    """Give what inner steps leave of a task, and its support loss before the first step and after each [..., steps + 1]."""
    moved, seen = start.moved, []
    for step in itertools.islice(inner_loop(start), steps):
        moved = step.moved
        seen.append(step.loss_before)
    return detached({**start.fixed, **start.conclude(moved)}), torch.stack([*seen, start.loss(moved)], dim=-1)


def answer(model: MetaModel, adapted: Params, queries: Tensor) -> Tensor:
    """Give the logits [M, way] of queries [M, ...], or the numbers [M, outputs] that a regression predicts."""
    with torch.no_grad():
        embeddings = model.embed(queries, {**model.params, **adapted})
        return heads.logits(adapted, embeddings, heads.scale(model.params))


def predict(model: MetaModel, adapted: Params, queries: Tensor) -> Tensor:
    """Give class probabilities [M, way] of queries [M, ...]."""
    return answer(model, adapted, queries).softmax(dim=1)
