"""How well a support set predicts itself, one example left out at a time."""

import torch
from torch import Tensor

from service.learner.heads import prototypes


def leave_one_out_accuracy(embeddings: Tensor, labels: Tensor, way: int) -> float | None:
    """Share of examples nearest to their own class's prototype once they no longer count in it.

    Only examples of classes with two or more count, since the others would leave an empty class; None when there are
    none. The prototype of a class of n without example x is (n·c − x) / (n − 1), so this takes one matrix product.

    Args:
        embeddings: [N, D].
        labels: [N] int64 in 0..way-1.
        way: how many classes.
    """
    shots = torch.bincount(labels, minlength=way)[labels]
    counted = shots > 1
    if not bool(counted.any()):
        return None
    centres = prototypes(embeddings, labels, way)
    distances = torch.cdist(embeddings, centres)
    others = shots[:, None].clamp(min=2)
    without = (others * centres[labels] - embeddings) / (others - 1)
    own = (embeddings - without).norm(dim=1, keepdim=True)
    nearest = distances.scatter(1, labels[:, None], own).argmin(dim=1)
    return (nearest == labels)[counted].to(torch.float32).mean().item()
