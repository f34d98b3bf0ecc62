"""How far from its class a new query may be: the spread of a support set's classes, told ahead of any query.

A query much farther from every class than examples are from their own is unlike them all. The distance is the one that a
prototype head scores by (see `heads.distances`), so no class centre has to be kept beside the head.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from service.learner.recipe import Recipe
from service.learner.task_batch import TaskBatch

# What the meta-model knows of its classes counts as much as so many further examples: a support set of one shot says nothing of
# its spread, one of two shots little, one of five enough to overrule what is expected.
PRIOR_EXAMPLES = 5

# A query is unlike a class from so many times its expected squared distance on; docs/adr/0014 has the measurement.
REACH = 2.5


def measures_distance(recipe: Recipe) -> bool:
    """Whether the head scores by the distance from class means, in a space that adapting does not move."""
    return recipe.head == "prototype" and not recipe.moves_body


def spread(classes: Iterable[Tensor]) -> float | None:
    """Give the mean squared distance of examples from the centre of their class, unbiased; None for classes of one example.

    Args:
        classes: embeddings [n, D] of each class.
    """
    scattered, freedom = 0.0, 0
    for own in classes:
        scattered += float((own - own.mean(dim=0)).square().sum())
        freedom += len(own) - 1
    return _usable(scattered / freedom) if freedom else None


def reaches(batch: TaskBatch, expected: float | None) -> list[float | None]:
    """Give each task's reach: the squared distance from its nearest class at which a query is unlike every class.

    A class's spread is expected to be as the meta-model has it (`expected`, see `spread`), and corrected by what the support
    set shows: examples of classes with two or more. A query is farther away than the spread, since a mean of n examples is
    itself off by a share of 1/n. None for a task that shows nothing when nothing is expected.
    """
    centres = torch.bmm(batch.targets, batch.centres())
    scattered = ((batch.inputs - centres).square().sum(dim=2) * batch.own).sum(dim=1)
    inaccuracy = (batch.shots.reciprocal() * ~batch.absent).sum(dim=1) / (~batch.absent).sum(dim=1)
    told = torch.stack([scattered, batch.own.sum(dim=1), inaccuracy], dim=1).tolist()
    return [_reach(*each, way=way, expected=expected) for each, way in zip(told, batch.ways, strict=True)]


def _reach(scattered: float, examples: float, inaccuracy: float, *, way: int, expected: float | None) -> float | None:
    prior = 0 if expected is None else PRIOR_EXAMPLES
    counted = prior + examples - way
    if not counted:
        return None
    return _usable(REACH * (1 + inaccuracy) * (prior * (expected or 0.0) + scattered) / counted)


def _usable(squared: float) -> float | None:
    # The same picture sent twice has no spread, which says nothing of the next one.
    return squared if 0 < squared < math.inf else None
