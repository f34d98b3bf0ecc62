"""Many heads adapted at once, as masked batched matrix products.

The gradient of a softmax head over fixed embeddings has a closed form, so tasks of different way, shot and step count
share every product. A test holds the result equal to the inner loop, one task at a time.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

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
        recipe: one with a closed form (`Recipe.closed_form`).
        batch: the tasks.
        steps: inner steps of each task.
    """
    factor = heads.scale(params).to(batch.inputs)
    # With a one at the end of every embedding the bias is the last number of its row, and moves by its own step size.
    seen = F.pad(batch.inputs, (0, 1), value=1)
    sizes = [_row_sizes(rates, seen) for rates in step_sizes(params, recipe, ["head.weight", "head.bias"])]
    weights = batch.weights()
    rows = heads.rows(heads.initial_head(params, recipe, batch.inputs, batch.targets, weights))
    scaled, counted = factor * seen, factor * weights.unsqueeze(2) * seen
    present = torch.zeros_like(batch.absent, dtype=seen.dtype).masked_fill(batch.absent, -torch.inf).unsqueeze(1)
    trail, longest, budget = [], max(steps), torch.tensor(steps, device=seen.device).view(-1, 1, 1)
    for step in range(longest + 1):
        trail.append(torch.baddbmm(present, scaled, rows.mT).log_softmax(dim=2))
        if step < longest:
            residual = trail[-1].exp() - batch.targets
            active = residual if step < min(steps) else residual * (step < budget)
            rows = torch.addcmul(rows, torch.bmm(active.mT, counted), sizes[min(step, len(sizes) - 1)], value=-1)
    return _apart(rows, _losses(batch, weights, torch.stack(trail)), batch.ways, steps)


def _row_sizes(rates: Params, seen: Tensor) -> Tensor:
    """Give the step size of every number of a row, its bias the last: [D + 1], for embeddings with a one beside them [T, N, D + 1]."""
    return F.pad(rates["head.weight"].expand(seen.shape[2] - 1), (0, 1), value=float(rates["head.bias"])).to(seen)


def _losses(batch: TaskBatch, weights: Tensor, log_shares: Tensor) -> list[list[float]]:
    """Give every task's support loss at each step, from the logarithms of class shares [S, T, N, W]."""
    own = log_shares.gather(3, batch.labels.expand(len(log_shares), *batch.labels.shape).unsqueeze(3)).squeeze(3)
    losses: list[list[float]] = (-(weights * own).sum(dim=2)).T.tolist()
    return losses


def _apart(rows: Tensor, losses: list[list[float]], ways: Sequence[int], steps: Sequence[int]) -> list[Adapted]:
    return [
        # Cloned, so that one session does not keep the memory of the whole batch.
        Adapted(
            {"head.weight": rows[task, :way, :-1].clone(memory_format=torch.contiguous_format), "head.bias": rows[task, :way, -1].clone()},
            tuple(losses[task][: steps[task] + 1]),
        )
        for task, way in enumerate(ways)
    ]
