"""Many heads adapted at once, as masked batched matrix products.

The gradient of a softmax head over fixed embeddings has a closed form, so tasks of different way, shot and step count
share every product. A test holds the result equal to the inner loop, one task at a time.
"""

from collections.abc import Sequence

import torch

from service.learner import heads
from service.learner.inner_loop import step_sizes
from service.learner.meta_model import Adapted
from service.learner.parameters import Params
from service.learner.recipe import Recipe
from service.learner.task_batch import TaskBatch


def adapt_heads(params: Params, recipe: Recipe, batch: TaskBatch, steps: Sequence[int]) -> list[Adapted]:
    """Adapt the heads of several tasks, each for its own number of steps.

    Args:
        params: what meta-training learned (`head.log_scale`, learned step sizes).
        recipe: its scope is `head`.
        batch: the tasks.
        steps: inner steps of each task.
    """
    factor = heads.scale(params).to(batch.embeddings)
    rates = step_sizes(params, recipe, ["head.weight", "head.bias"])
    head = heads.initial_head(params, recipe, batch.centres())
    weights, budget, longest = batch.weights(), torch.tensor(steps, device=batch.embeddings.device), max(steps)
    trail = []
    for step in range(longest + 1):
        log_share = heads.logits(head, batch.embeddings, factor).masked_fill(batch.absent.unsqueeze(1), -torch.inf).log_softmax(dim=2)
        trail.append(-(weights * log_share.gather(2, batch.labels.unsqueeze(2)).squeeze(2)).sum(dim=1))
        if step < longest:
            active = (step < budget).unsqueeze(1)
            slopes = (log_share.exp() - batch.targets) * (factor * weights * active).unsqueeze(2)
            head = {
                "head.weight": head["head.weight"] - rates["head.weight"] * torch.bmm(slopes.mT, batch.embeddings),
                "head.bias": head["head.bias"] - rates["head.bias"] * slopes.sum(dim=1),
            }
    return _apart(head, torch.stack(trail, dim=1).tolist(), batch.ways, steps)


def _apart(head: Params, losses: list[list[float]], ways: Sequence[int], steps: Sequence[int]) -> list[Adapted]:
    return [
        # Cloned, so that one session does not keep the memory of the whole batch.
        Adapted({name: rows[task, :way].clone() for name, rows in head.items()}, tuple(losses[task][: steps[task] + 1]))
        for task, way in enumerate(ways)
    ]
