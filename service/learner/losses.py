"""Losses of the inner and the outer loop."""

import torch
from torch import Tensor
from torch.nn import functional as F


def balanced_weights(labels: Tensor, way: int) -> Tensor:
    """Weigh examples [N] so that every class counts the same: 1 / (way · shots of the class); they sum to one."""
    shots = torch.bincount(labels, minlength=way)
    return 1 / (way * shots[labels])


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy: logits [N, way], labels [N] int64, weights [N] that sum to one → scalar."""
    return (weights * F.cross_entropy(logits, labels, reduction="none")).sum()


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
