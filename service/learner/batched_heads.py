"""Many heads adapted at once, as masked batched matrix products.

The gradient of a softmax head over fixed embeddings has a closed form, so tasks of different way, shot and step count
share every product. A test holds the result equal to the inner loop, one task at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from service.learner import heads
from service.learner.episodes import Support
from service.learner.inner_loop import step_sizes
from service.learner.losses import balanced_weights
from service.learner.meta_model import Adapted
from service.learner.parameters import Params
from service.learner.recipe import Recipe


@dataclass(frozen=True, slots=True)
class _Padded:
    """T tasks side by side: embeddings [T, N, D], targets [T, N, W] one-hot, weights [T, N], absent classes [T, W]."""

    embeddings: Tensor
    targets: Tensor
    weights: Tensor
    absent: Tensor


def adapt_heads(params: Params, recipe: Recipe, supports: Sequence[Support], steps: Sequence[int]) -> list[Adapted]:
    """Adapt the heads of several tasks, each for its own number of steps.

    Args:
        params: what meta-training learned (`head.log_scale`, learned step sizes).
        recipe: its scope is `head`.
        supports: their inputs are embeddings [N_t, D].
        steps: inner steps of each task.
    """
    padded = _pad(supports)
    factor = heads.scale(params).to(padded.embeddings)
    rates = step_sizes(params, recipe, ["head.weight", "head.bias"])
    weight, bias = _initial_heads(params, recipe, supports, padded)
    budget = torch.tensor(steps, device=weight.device)
    trail = []
    for step in range(max(steps) + 1):
        residual, loss = _residual(padded, weight, bias, factor)
        trail.append(loss)
        active = (step < budget).to(weight.dtype)[:, None]
        weight = weight - rates["head.weight"] * active[:, :, None] * torch.bmm(residual.mT, padded.embeddings)
        bias = bias - rates["head.bias"] * active * residual.sum(dim=1)
    return _unpad(weight, bias, torch.stack(trail, dim=1).tolist(), supports, steps)


def _pad(supports: Sequence[Support]) -> _Padded:
    longest, way = max(len(support.labels) for support in supports), max(support.way for support in supports)
    like = supports[0].inputs
    embeddings = like.new_zeros(len(supports), longest, like.shape[1])
    targets, weights = like.new_zeros(len(supports), longest, way), like.new_zeros(len(supports), longest)
    absent = torch.ones(len(supports), way, dtype=torch.bool, device=like.device)
    for task, support in enumerate(supports):
        size = len(support.labels)
        embeddings[task, :size] = support.inputs
        targets[task, torch.arange(size, device=like.device), support.labels] = 1
        weights[task, :size] = balanced_weights(support.labels, support.way)
        absent[task, : support.way] = False
    return _Padded(embeddings, targets, weights, absent)


def _initial_heads(params: Params, recipe: Recipe, supports: Sequence[Support], padded: _Padded) -> tuple[Tensor, Tensor]:
    weight = padded.embeddings.new_zeros(*padded.absent.shape, padded.embeddings.shape[2])
    bias = padded.embeddings.new_zeros(padded.absent.shape)
    for task, support in enumerate(supports):
        head = heads.initial_head(params, recipe, support.inputs, support.labels, support.way)
        weight[task, : support.way], bias[task, : support.way] = head["head.weight"], head["head.bias"]
    return weight, bias


def _residual(padded: _Padded, weight: Tensor, bias: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Give the loss gradient by the unscaled logits [T, N, W], and the loss [T]."""
    logits = factor * torch.baddbmm(bias[:, None, :], padded.embeddings, weight.mT)
    log_share = logits.masked_fill(padded.absent[:, None, :], -torch.inf).log_softmax(dim=2)
    loss = -(padded.weights * (padded.targets * log_share.masked_fill(padded.absent[:, None, :], 0)).sum(dim=2)).sum(dim=1)
    return factor * padded.weights[:, :, None] * (log_share.exp() - padded.targets), loss


def _unpad(weight: Tensor, bias: Tensor, losses: list[list[float]], supports: Sequence[Support], steps: Sequence[int]) -> list[Adapted]:
    return [
        # Cloned, so that one session does not keep the memory of the whole batch.
        Adapted(
            {"head.weight": weight[task, : support.way].clone(), "head.bias": bias[task, : support.way].clone()},
            tuple(losses[task][: steps[task] + 1]),
        )
        for task, support in enumerate(supports)
    ]
