"""Losses of the inner and the outer loop."""

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.recipe import Recipe


def support_weights(labels: Tensor, way: int) -> Tensor:
    """Weigh examples [N]: class-balanced for int64 labels [N], all alike for the targets [N, outputs] of a regression."""
    return balanced_weights(labels, way) if labels.dim() == 1 else torch.full_like(labels[:, 0], 1 / len(labels))


def task_loss(recipe: Recipe, answers: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Give the loss that a task is adapted and judged by: squared error for a regression, else cross-entropy; a scalar for each task."""
    return (squared_error if recipe.regression else cross_entropy)(answers, labels, weights)


def balanced_weights(labels: Tensor, way: int) -> Tensor:
    """Weigh examples [N] so that every class counts the same: 1 / (way · shots of the class); they sum to one."""
    shots = torch.bincount(labels, minlength=way)
    return 1 / (way * shots[labels])


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy: logits [..., N, way], labels [..., N] int64, weights [..., N] that sum to one → [...]."""
    each = F.cross_entropy(logits.flatten(end_dim=-2), labels.flatten(), reduction="none")
    return (weights * each.view_as(labels)).sum(dim=-1)


def squared_error(numbers: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean squared error: numbers [..., N, outputs], targets [..., N, outputs], weights [..., N] that sum to one → [...]."""
    return (weights * (numbers - targets).square().mean(dim=-1)).sum(dim=-1)


def one_hot(labels: Tensor, way: int, like: Tensor) -> Tensor:
    """Write labels [N] as targets [N, way] of the type of `like`; targets of a regression are what they are."""
    return F.one_hot(labels, way).to(like.dtype) if labels.dim() == 1 else labels


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of rows [N, way] whose largest logit is the label's, as a scalar in 0..1."""
    return (logits.argmax(dim=1) == labels).to(torch.float32).mean()


def calibration_error(scores: Tensor, correct: Tensor, *, bins: int = 15) -> float:
    """Average gap between the score of the top label and how often it is right, over bins of equally many predictions.

    Args:
        scores: [N], probability of each prediction's top label.
        correct: [N], whether that label was right.
        bins: how many bins; with fewer predictions, each has a bin of its own.

    Source: Naeini, Cooper and Hauskrecht (2015), AAAI; bins of equal mass after Nixon et al. (2019), arXiv:1904.01685.
    """
    order = scores.argsort(stable=True)
    gaps = (correct[order].to(scores.dtype) - scores[order]).tensor_split(bins)
    return sum(abs(gap.sum().item()) for gap in gaps) / len(scores)
