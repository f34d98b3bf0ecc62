"""THE inner loop: every gradient-based few-shot algorithm adapts through these few lines."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from service.learner.losses import cross_entropy
from service.learner.parameters import Params, gradients, separate, trainable
from service.learner.recipe import Recipe

# 0: nothing flows back to the start (serving). 1: the steps count as constants. 2: through the steps.
Order = Literal[0, 1, 2]


@dataclass(frozen=True, slots=True)
class Start:
    """Where the inner loop of one task begins.

    Attributes:
        moved: the parameters that the inner loop changes.
        fixed: what else belongs to the task alone: the head, when the scope is `body`.
        features: the support set as `logits` reads it [N, ...]: embeddings for scope `head`, else inputs.
        labels: [N] int64 in 0..way-1.
        weights: [N], what each example counts in the support loss; they sum to one.
        logits: maps moved parameters and features [M, ...] to logits [M, way].
        step_sizes: step size of every moved parameter, scalars.
    """

    moved: Params
    fixed: Params
    features: Tensor
    labels: Tensor
    weights: Tensor
    logits: Callable[[Params, Tensor], Tensor]
    step_sizes: Params

    def loss(self, moved: Params) -> Tensor:
        """Support loss of some moved parameters."""
        return cross_entropy(self.logits(moved, self.features), self.labels, self.weights)


@dataclass(frozen=True, slots=True)
class Step:
    """The moved parameters after an inner step, and the support loss before it, a scalar without a graph."""

    moved: Params
    loss_before: Tensor


def inner_loop(start: Start, *, order: Order = 0) -> Iterator[Step]:
    """Yield inner steps, without end; the caller stops.

    Plain gradient descent on the class-balanced support loss. `order` says how the result depends on the start:
    2 differentiates through every step (MAML), 1 takes the steps as constants (FOMAML), 0 cuts the graph (serving).

    Source: Finn, Abbeel and Levine (2017), arXiv:1703.03400, Algorithm 2.
    """
    moved = start.moved
    for _ in itertools.count():
        with torch.enable_grad():
            moved = trainable(moved) if order == 0 else separate(moved)
            loss = start.loss(moved)
            slopes = gradients(loss, moved, create_graph=order == 2)
            moved = {name: value - start.step_sizes[name] * slopes[name] for name, value in moved.items()}
        yield Step(moved, loss.detach())


def step_sizes(params: Params, recipe: Recipe, names: list[str]) -> dict[str, Tensor]:
    """Give the step size of every moved parameter, from learned logarithms or the recipe's constant."""
    if not recipe.learn_rates:
        return {name: torch.tensor(recipe.step_size) for name in names}
    return {name: params[rate_name(recipe, name)].exp() for name in names}


def rate_name(recipe: Recipe, name: str) -> str:
    """Name the learned step size that a parameter uses."""
    return "rate.all" if recipe.rates == "one" else f"rate.{name}"
