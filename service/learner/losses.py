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
