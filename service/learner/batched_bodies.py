"""Many bodies adapted at once: the inner loop over parameters stacked task by task, the encoder mapped over them.

A test holds the result equal to the inner loop, one task at a time. Of convolutions whose kernels differ `vmap` makes a grouped one, which
a CPU computes task by task all the same.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from service.learner.encoders.encoder import Encoder
from service.learner.episodes import Support
from service.learner.heads import HEAD
from service.learner.meta_model import Adapted, MetaModel, after_steps, as_learner
from service.learner.parameters import Params, trainable
from service.learner.recipe import Scope
from service.learner.starts import bodies_start, moved_body
from service.learner.statistics import SupportStatistics, already_normalised
from service.learner.task_batch import TaskBatch
from service.learner.views import with_views


def adapt_bodies(model: MetaModel, supports: Sequence[Support], steps: int) -> list[Adapted]:
    """Adapt encoder parameters to several support sets, each with its own, in as many inner steps.

    Args:
        model: one whose recipe moves the body.
        supports: inputs [N_t, ...] as the encoder reads them, on the model's device.
        steps: inner steps of every task.
    """
    batch = TaskBatch.of([with_views(support, model.recipe.views) for support in supports])
    with torch.no_grad():
        start = bodies_start(as_learner(model), batch)
    params, losses = after_steps(start, steps)
    return [
        Adapted({name: _own(name, value[task], way) for name, value in params.items()}, tuple(seen))
        for task, (way, seen) in enumerate(zip(batch.ways, losses.tolist(), strict=True))
    ]


def _own(name: str, value: Tensor, way: int) -> Tensor:
    """Copy a task's own parameter, without the memory of its batch: of a head the rows that it has."""
    return (value[:way] if name.startswith(HEAD) else value).clone(memory_format=torch.contiguous_format)


def embed_bodies(model: MetaModel, own: Params, inputs: Tensor) -> Tensor:
    """Embed inputs [T, M, ...] of T tasks, each by its own parameters [T, ...] and the meta-model's beside them: [T, M, D]."""

    def embed(own: Params, inputs: Tensor) -> Tensor:
        return model.embed(inputs, {**model.params, **own})

    embedded: Tensor = torch.vmap(embed)(own, inputs)
    return embedded


@lru_cache
def kept_bytes(encoder: Encoder, scope: Scope) -> int:
    """Give the most bytes that a pass keeps of each input for the pass back to what a scope moves, by passing a few on the CPU."""
    # Asked while predicting too, where tensors of inference mode would keep nothing.
    with torch.inference_mode(mode=False), torch.enable_grad():
        learned = encoder.initial(torch.Generator())
        params = {**learned, **trainable(moved_body(encoder, scope, learned))}
        # What is kept whatever passes, the parameters say, is left out.
        return saved_bytes(encoder, params, 3) - saved_bytes(encoder, params, 2)


def saved_bytes(encoder: Encoder, params: Params, inputs: int) -> int:
    """Give the bytes that a pass of so many inputs keeps for the pass back."""
    sizes: list[int] = []

    def keep(saved: Tensor) -> Tensor:
        sizes.append(saved.nbytes)
        return saved

    normalise = SupportStatistics(torch.full((inputs,), 1 / inputs)) if encoder.norm == "task" else already_normalised
    with saved_tensors_hooks(keep, lambda saved: saved):
        encoder(params, torch.zeros(inputs, *encoder.input_shape), normalise)
    return sum(sizes)
