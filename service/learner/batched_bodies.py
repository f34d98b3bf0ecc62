"""Many bodies adapted at once: the inner loop over parameters stacked task by task, the encoder mapped over them.

A test holds the result equal to the inner loop, one task at a time. Where convolutions move it pays on a CUDA device only: on a CPU
each task's are computed apart all the same.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from service.learner.encoders.encoder import Encoder
from service.learner.episodes import Support
from service.learner.meta_model import Adapted, MetaModel, after_steps, as_learner
from service.learner.parameters import Params, trainable
from service.learner.starts import bodies_start
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
    return (value[:way] if name.startswith("head.") else value).clone(memory_format=torch.contiguous_format)


def embed_bodies(model: MetaModel, own: Params, inputs: Tensor) -> Tensor:
    """Embed inputs [T, M, ...] of T tasks, each by its own parameters [T, ...] and the meta-model's beside them: [T, M, D]."""

    def embed(own: Params, inputs: Tensor) -> Tensor:
        return model.embed(inputs, {**model.params, **own})

    embedded: Tensor = torch.vmap(embed)(own, inputs)
    return embedded


@lru_cache
def kept_bytes(encoder: Encoder) -> int:
    """Give the bytes that a pass through an encoder keeps of each input until the pass back; nothing is computed."""
    params = trainable({name: value.to("meta") for name, value in encoder.initial(torch.Generator()).items()})

    def kept(count: int) -> int:
        sizes: list[int] = []

        def keep(saved: Tensor) -> Tensor:
            sizes.append(saved.nbytes)
            return saved

        normalise = SupportStatistics(torch.empty(count, device="meta")) if encoder.norm == "task" else already_normalised
        with torch.enable_grad(), saved_tensors_hooks(keep, lambda saved: saved):
            encoder(params, torch.empty(count, *encoder.input_shape, device="meta"), normalise)
        return sum(sizes)

    # What is kept whatever passes, the parameters say, is left out.
    return kept(3) - kept(2)
