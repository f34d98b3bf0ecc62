"""Every meta-model computes once before the server is ready, so that no caller waits for what happens only the first time."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future
from typing import TypeVar

import torch

from service.learner.episodes import Support
from service.learner.meta_model import MetaModel
from service.runtime.caller import Caller
from service.runtime.catalog import Served
from service.runtime.tasks import AdaptTask, PredictTask
from service.runtime.worker import DeviceWorker, Done

SIZES = (1, 64)
NOBODY = Caller("")

T = TypeVar("T")


async def warm_up(served: Served, worker: DeviceWorker) -> None:
    """Adapt to made-up inputs and ask one query, then many: for one alone, and for as many more as are computed in another way."""
    # Twice as many: some of them may share the first one's batch.
    tasks = [_made_up(served.model) for _ in range(1 + 2 * worker.company(served.model))]
    fitted = await _all(worker.adapt(served.model, task, NOBODY) for task in tasks)
    for count in SIZES:
        queries = tasks[0].support.inputs[:1].expand(count, *served.model.encoder.input_shape)
        asked = [PredictTask(each.adapted.params, each.weights_digest, queries, 1) for each in fitted]
        await _all(worker.predict(served.model, task, NOBODY) for task in asked)


def _made_up(model: MetaModel) -> AdaptTask:
    shape, way = model.encoder.input_shape, model.recipe.way or 2
    inputs = torch.rand(way, *shape) if len(shape) == 1 else torch.randint(0, 256, (way, *shape), dtype=torch.uint8)
    answers = torch.rand(way, way) if model.recipe.regression else torch.arange(way)
    return AdaptTask(Support(inputs, answers, way), model.recipe.steps_default)


async def _all(submitted: Iterable["Future[Done[T]]"]) -> list[T]:
    """Submit at once, so that those behind the first share a batch, and wait for all."""
    return [done.result for done in await asyncio.gather(*map(asyncio.wrap_future, submitted))]
