"""Every meta-model computes once before the server is ready, so that no caller waits for what happens only the first time."""

import asyncio

import torch

from service.learner.episodes import Support
from service.runtime.caller import Caller
from service.runtime.catalog import Served
from service.runtime.engine import AdaptTask, PredictTask
from service.runtime.worker import DeviceWorker

SIZES = (1, 64)
NOBODY = Caller("")


async def warm_up(served: Served, worker: DeviceWorker) -> None:
    """Adapt to made-up inputs and ask one query, then many."""
    model, shape = served.model, served.model.encoder.input_shape
    way = model.recipe.way or 2
    inputs = torch.rand(way, *shape) if len(shape) == 1 else torch.randint(0, 256, (way, *shape), dtype=torch.uint8)
    answers = torch.rand(way, way) if model.recipe.regression else torch.arange(way)
    task = AdaptTask(Support(inputs, answers, way), model.recipe.steps_default)
    fitted = (await asyncio.wrap_future(worker.adapt(model, task, NOBODY))).result
    for count in SIZES:
        queries = inputs[:1].expand(count, *shape)
        asked = PredictTask(fitted.adapted.params, fitted.weights_digest, queries, 1)
        await asyncio.wrap_future(worker.predict(model, asked, NOBODY))
