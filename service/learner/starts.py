"""Where the inner loop of a task begins, or of many tasks side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from service.learner import heads, losses
from service.learner.encoders.encoder import CONTEXT, Encoder, Normalise
from service.learner.episodes import Support
from service.learner.inner_loop import Start, nothing_more, step_sizes
from service.learner.parameters import Params, under
from service.learner.recipe import Recipe, Scope
from service.learner.statistics import KEPT, KeptStatistics, SupportStatistics
from service.learner.task_batch import TaskBatch

# Parameters and inputs to embeddings; a norm that needs a task's own moments is told where they come from.
Encode = Callable[[Params, Tensor, Normalise | None], Tensor]


@dataclass(frozen=True, slots=True)
class Learner:
    """What is adapted: parameters, how they adapt, and how inputs pass: while meta-training by leaves, or as served."""

    params: Params
    recipe: Recipe
    encoder: Encoder
    encode: Encode


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


def body_start(learner: Learner, support: Support) -> Start:
    """Begin a task whose inner loop moves encoder parameters."""
    like = next(iter(learner.params.values()))
    weights = losses.support_weights(support.labels, support.way).to(like.dtype)
    targets = losses.one_hot(support.labels, support.way, like)
    return _MovingBody(learner, support.inputs, support.labels, targets, weights).start()


def bodies_start(learner: Learner, batch: TaskBatch) -> Start:
    """Begin tasks whose inner loop moves encoder parameters side by side, each of which has its own, stacked."""
    like = next(iter(learner.params.values()))
    targets, weights = batch.targets.to(like.dtype), batch.weights().to(like.dtype)
    return _MovingBody(learner, batch.inputs, batch.labels, targets, weights, batch.absent).start()


@dataclass(frozen=True, slots=True)
class _MovingBody:
    """What `Start` asks of a task whose body moves; of T tasks where classes may be `absent` [T, W], every tensor with their axis."""

    learner: Learner
    inputs: Tensor
    labels: Tensor
    targets: Tensor
    weights: Tensor
    absent: Tensor | None = None

    def start(self) -> Start:
        params, recipe, encoder = self.learner.params, self.learner.recipe, self.learner.encoder
        head = heads.initial_head(params, recipe, self._first(), self.targets, self.weights)
        body = {name: self._for_each_task(value) for name, value in moved_body(encoder, recipe.scope, params).items()}
        moved, fixed = ({**body, **head}, {}) if recipe.moves_head else (body, head)
        factor = heads.scale(params)

        def logits(moved: Params, inputs: Tensor) -> Tensor:
            own = {**fixed, **moved}
            return self._present(heads.logits(own, self._mapped(self._embedded)(own, inputs, self.weights), factor))

        def with_moments(moved: Params) -> Params:
            kept: Params = self._mapped(self._moments)({**fixed, **moved}, self.inputs, self.weights)
            return {**moved, **kept}

        return Start(
            moved=moved,
            fixed=fixed,
            features=self.inputs,
            labels=self.labels,
            weights=self.weights,
            logits=logits,
            step_sizes=step_sizes(params, recipe, list(moved)),
            recipe=recipe,
            conclude=with_moments if encoder.norm == "task" else nothing_more,
        )

    def _first(self) -> Tensor:
        """Embed the support set before any step: [..., N, D]; zeros where the head does not read it."""
        if heads.reads_support(self.learner.recipe):
            found: Tensor = self._mapped(self._embedded)({}, self.inputs, self.weights)
            return found
        return self.weights.new_zeros(*self.weights.shape, self.learner.encoder.embedding)

    def _embedded(self, own: Params, inputs: Tensor, weights: Tensor) -> Tensor:
        """Embed one task's inputs [N, ...] by its own parameters, and the learned ones beside them."""
        whole = {**self.learner.params, **own}
        return self.learner.encode(whole, inputs, _task_statistics(self.learner.encoder, whole, weights))

    def _moments(self, own: Params, inputs: Tensor, weights: Tensor) -> Params:
        """Give the moments that one task's support set leaves."""
        statistics = SupportStatistics(weights)
        self.learner.encode({**self.learner.params, **own}, inputs, statistics)
        return statistics.kept

    def _mapped(self, one: Callable[..., Any]) -> Callable[..., Any]:
        """Let what is written for one task compute all of them."""
        return one if self.absent is None else torch.vmap(one)

    def _for_each_task(self, value: Tensor) -> Tensor:
        return value if self.absent is None else value.expand(len(self.absent), *value.shape)

    def _present(self, logits: Tensor) -> Tensor:
        return logits if self.absent is None else logits.masked_fill(self.absent.unsqueeze(1), -torch.inf)


def moved_blocks(encoder: Encoder, scope: Scope) -> tuple[str, ...]:
    """Give the parameter prefixes of the encoder that a scope moves."""
    return {"head": (), "context": (), "last_block": encoder.blocks[-1:], "body": encoder.blocks, "all": encoder.blocks}[scope]


def moved_body(encoder: Encoder, scope: Scope, params: Params) -> dict[str, Tensor]:
    """Give what a scope moves of the encoder; context parameters start from zero, whatever was learned."""
    if scope == "context":
        return {CONTEXT: next(iter(params.values())).new_zeros(encoder.context)}
    return under(params, moved_blocks(encoder, scope))


def _task_statistics(encoder: Encoder, whole: Params, weights: Tensor) -> Normalise | None:
    """Say where task norm gets its moments: those the support set left, once it has; until then what it sees is the support set."""
    if encoder.norm != "task":
        return None
    return KeptStatistics(whole) if any(name.startswith(KEPT) for name in whole) else SupportStatistics(weights)
