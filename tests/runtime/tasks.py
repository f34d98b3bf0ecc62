"""Tasks for the engine and its worker, and an engine that waits to be let go."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from service.errors import AdaptationDivergedError
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.encoder import Encoder
from service.learner.encoders.mlp import Mlp
from service.learner.encoders.residual import Residual
from service.learner.episodes import Support
from service.learner.meta_model import MetaModel
from service.learner.recipe import Recipe
from service.runtime.engine import Engine, Fitted
from service.runtime.ranking import Found, Ranked
from service.runtime.tasks import AdaptTask, PredictTask
from tests.tiny import HEAD_RECIPE, tiny_model

GROUPS = Conv4(width=8, norm="group")

# Every way to adapt that the engine knows.
MODELS = {
    "head": tiny_model(),
    "head, from zeros": tiny_model(Conv4(width=8), Recipe(head="zero", step_size=0.5, steps_default=2, steps_max=10)),
    "head, through views": tiny_model(Residual(widths=(8, 16), projection=24), replace(HEAD_RECIPE, views=3)),
    "all, through views": tiny_model(GROUPS, Recipe(scope="all", step_size=0.01, steps_default=2, steps_max=10, views=2)),
    "head, of vectors": tiny_model(Mlp(6), HEAD_RECIPE),
    "all, prototypes": tiny_model(GROUPS, Recipe(scope="all", step_size=0.01, steps_default=2, steps_max=10)),
    "all, one way": tiny_model(GROUPS, Recipe(scope="all", head="per_class", way=4, step_size=0.1, steps_default=2, steps_max=10)),
    "body": tiny_model(GROUPS, Recipe(scope="body", step_size=0.01, steps_default=2, steps_max=10)),
    "last block": tiny_model(GROUPS, Recipe(scope="last_block", step_size=0.01, steps_default=2, steps_max=10)),
    "task norm": tiny_model(
        Conv4(width=8, norm="task"), Recipe(scope="all", head="per_class", way=4, step_size=0.05, steps_default=2, steps_max=3)
    ),
    "context": tiny_model(
        Conv4(width=8, norm="group", groups=4, context=3),
        Recipe(scope="context", head="per_class", way=4, step_size=0.5, steps_max=3),
    ),
    "one row for all": tiny_model(Mlp(inputs=6, width=16), Recipe(scope="all", head="shared", step_size=0.1, steps_default=2, steps_max=3)),
    "head, by minibatches": tiny_model(
        Mlp(inputs=6, width=16), Recipe(head="zero", optimiser="adam", support_batch=2, step_size=0.01, steps_max=3)
    ),
}


def inputs(encoder: Encoder, count: int, generator: torch.Generator) -> Tensor:
    """Random inputs as they come decoded: pixels for a picture, numbers for a vector."""
    if isinstance(encoder, Mlp):
        return torch.randn(count, *encoder.input_shape, generator=generator)
    return torch.randint(0, 256, (count, *encoder.input_shape), generator=generator, dtype=torch.uint8)


def adapt_task(model: MetaModel, shots: Sequence[int], steps: int, generator: torch.Generator) -> AdaptTask:
    """A random support set with these shots."""
    labels = torch.arange(len(shots)).repeat_interleave(torch.tensor(shots))
    return AdaptTask(Support(inputs(model.encoder, len(labels), generator), labels, len(shots)), steps)


def scored(found: Found) -> Ranked:
    """What was found, which must not be an error."""
    assert isinstance(found, Ranked)
    return found


def probabilities(found: Found, way: int) -> Tensor:
    """Put ranked scores back under their classes [M, way]."""
    ranked = scored(found)
    rows = torch.tensor(ranked.rows)
    return torch.zeros(len(rows), way).scatter(1, rows, torch.tensor(ranked.scores))


class GatedEngine(Engine):
    """The engine, which computes only while its gate is open, and keeps how many tasks each batch had."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.gate, self.entered = threading.Event(), threading.Event()
        self.batches: list[int] = []

    def adapt(self, model: MetaModel, tasks: Sequence[AdaptTask]) -> list[Fitted | AdaptationDivergedError]:
        self._wait(len(tasks))
        return Engine.adapt(self, model, tasks)

    def predict(self, model: MetaModel, tasks: Sequence[PredictTask]) -> Sequence[Found]:
        self._wait(len(tasks))
        return Engine.predict(self, model, tasks)

    def _wait(self, tasks: int) -> None:
        self.batches.append(tasks)
        self.entered.set()
        assert self.gate.wait(30)
