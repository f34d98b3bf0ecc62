"""THE inner loop: every gradient-based few-shot algorithm adapts through these few lines."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner import losses
from service.learner.descent import DESCENTS
from service.learner.parameters import Params, gradients, separate, squared_distance, trainable
from service.learner.recipe import Recipe

# 0: nothing flows back to the start (serving). 1: the steps count as constants. 2: through the steps.
Order = Literal[0, 1, 2]

# Learned step sizes stay within these, whatever the outer loop wants of them.
SMALLEST_RATE, LARGEST_RATE = 1e-6, 1e9

# What the names of learned step sizes begin with.
RATE = "rate."


def nothing_more(moved: Params) -> Params:
    """Add nothing to moved parameters: what `Start.conclude` is unless a norm needs the support set's moments."""
    return moved


@dataclass(frozen=True, slots=True)
class Start:
    """Where the inner loop of one task begins, or of many side by side: every tensor then has the axis of tasks in front.

    Attributes:
        moved: the parameters that the inner loop changes.
        fixed: what else belongs to the task alone: the head, when the scope is `body`.
        features: the support set as `logits` reads it [N, ...]: embeddings for scope `head`, else inputs.
        labels: [N] int64 in 0..way-1; targets [N, outputs] for regression.
        weights: [N], what each example counts in the support loss; they sum to one, zero for one that only pads.
        logits: maps moved parameters and features [M, ...] to logits [M, way], or to predicted numbers.
        step_sizes: of every moved parameter, one mapping for each step; a step past the last one reuses it.
        recipe: its optimiser, support batch and proximal term.
        conclude: gives moved parameters with what else the support set leaves behind: the moments that queries are normalised by.
    """

    moved: Params
    fixed: Params
    features: Tensor
    labels: Tensor
    weights: Tensor
    logits: Callable[[Params, Tensor], Tensor]
    step_sizes: Sequence[Params]
    recipe: Recipe = field(default_factory=Recipe)
    conclude: Callable[[Params], Params] = nothing_more

    def loss(self, moved: Params, chosen: Tensor | None = None) -> Tensor:
        """Support loss of some moved parameters: of all examples, or of chosen ones [B]; a scalar for each task."""
        features, labels, weights = self.features, self.labels, self.weights
        if chosen is not None:
            features, labels, weights = (_of(values, chosen) for values in (features, labels, weights))
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return losses.task_loss(self.recipe, self.logits(moved, features), labels, weights)

    def minibatch(self, step: int) -> Tensor | None:
        """Choose the examples [B] that a step sees, the next ones in turn, every class alike; None for all."""
        size, most = self.recipe.support_batch, self.weights.shape[-1]
        if not 0 < size < most:
            return None
        own = self.weights > 0
        count, first = own.sum(dim=-1, keepdim=True), torch.arange(size, device=own.device)
        # A task that has no more than the step sees is seen whole, and what pads it is chosen last.
        return self._in_turn(own).gather(-1, torch.where(count > size, (step * size + first) % count, first))

    def _in_turn(self, own: Tensor) -> Tensor:
        """Order examples so that the first of every class come first, then the second ones; what is not its task's own comes last."""
        if self.recipe.regression:
            return torch.arange(own.shape[-1], device=own.device).expand_as(own)
        each = F.one_hot(self.labels)
        nth = each.cumsum(dim=-2).gather(-1, self.labels.unsqueeze(-1)).squeeze(-1)
        return torch.argsort((nth * each.shape[-1] + self.labels).masked_fill(~own, each.numel()), dim=-1)


def _of(values: Tensor, chosen: Tensor) -> Tensor:
    """Give what values [N, ...] are of chosen examples [B], of each task's own where there are many."""
    return values[chosen] if chosen.dim() == 1 else values[torch.arange(len(chosen), device=chosen.device).unsqueeze(1), chosen]


@dataclass(frozen=True, slots=True)
class Step:
    """The moved parameters after an inner step, and the support loss before it, of what the step saw, without a graph."""

    moved: Params
    loss_before: Tensor


def inner_loop(start: Start, *, order: Order = 0) -> Iterator[Step]:
    """Yield inner steps, without end; the caller stops.

    Gradient descent on the class-balanced support loss, by the recipe's optimiser. `order` says how the result depends on the
    start: 2 differentiates through every step (MAML), 1 takes the steps as constants (FOMAML), 0 cuts the graph (serving).

    Source: Finn, Abbeel and Levine (2017), arXiv:1703.03400, Algorithm 2.
    """
    descend, moved = DESCENTS[start.recipe.optimiser](), start.moved
    for step in itertools.count():
        with torch.enable_grad():
            moved = trainable(moved) if order == 0 else separate(moved)
            loss = start.loss(moved, start.minibatch(step))
            # Of many tasks too: no loss depends on another task's parameters, so its slopes are its own.
            pulled = loss.sum()
            if start.recipe.proximal:
                pulled = pulled + start.recipe.proximal / 2 * squared_distance(moved, start.moved)
            slopes = gradients(pulled, moved, create_graph=order == 2)
            moved = descend(moved, slopes, start.step_sizes[min(step, len(start.step_sizes) - 1)])
        yield Step(moved, loss.detach())


def step_sizes(params: Params, recipe: Recipe, names: Sequence[str]) -> list[dict[str, Tensor]]:
    """Give the step sizes of moved parameters, step by step: from learned logarithms, or the recipe's constant."""
    if not recipe.learn_rates:
        return [{name: torch.tensor(recipe.step_size) for name in names}]
    rates = {name: params[rate_name(recipe, name)].exp().clamp(SMALLEST_RATE, LARGEST_RATE) for name in names}
    if recipe.rates != "per_layer_and_step":
        return [rates]
    return [{name: rate[step] for name, rate in rates.items()} for step in range(recipe.steps_default)]


def rate_name(recipe: Recipe, name: str) -> str:
    """Name the learned step size that a parameter uses."""
    return f"{RATE}all" if recipe.rates == "one" else f"{RATE}{name}"


def initial_rate(recipe: Recipe, shape: Sequence[int]) -> Tensor:
    """Give the logarithm of the step size that a moved parameter of a shape starts with."""
    own: tuple[int, ...] = {"per_parameter": tuple(shape), "per_layer_and_step": (recipe.steps_default,)}.get(recipe.rates, ())
    return torch.full(own, recipe.step_size).log()
