"""How well a support set predicts itself, one example left out at a time."""

import torch

from service.learner.task_batch import TaskBatch


def leave_one_out_accuracies(batch: TaskBatch) -> list[float | None]:
    """Give each task's share of examples nearest to their own class's prototype once they no longer count in it.

    Only examples of classes with two or more count, since the others would leave an empty class; None for a task
    without any. Leaving x out of n moves its prototype c to (n·c − x) / (n − 1), n / (n − 1) times as far from x.
    """
    shots = batch.of_own_class(batch.shots)
    counted = shots > 1
    if not bool(counted.any()):
        return [None] * len(batch.ways)
    farther = 1 + batch.targets / (shots - 1).clamp(min=1).unsqueeze(2)
    distances = (torch.cdist(batch.inputs, batch.centres()) * farther).masked_fill(batch.absent.unsqueeze(1), torch.inf)
    right = (distances.argmin(dim=2) == batch.labels) & counted
    return [found / count if count else None for found, count in torch.stack([right.sum(dim=1), counted.sum(dim=1)], dim=1).tolist()]
