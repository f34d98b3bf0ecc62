import asyncio
from pathlib import Path

import pytest
import torch

from service.learner.encoders.mlp import Mlp
from service.learner.meta_model import MetaModel
from service.learner.recipe import Recipe
from service.runtime.bodies import STACKING
from service.runtime.catalog import load_catalog
from service.runtime.engine import Engine
from service.runtime.warm_up import warm_up
from service.runtime.worker import DeviceWorker
from tests.runtime.conftest import Stacks
from tests.tiny import tiny_model, write_tiny

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("model", "stacked"),
    [(tiny_model(), False), (tiny_model(Mlp(6), Recipe(scope="all", step_size=0.1, steps_default=2, steps_max=10)), True)],
    ids=["a head", "a body"],
)
def test_what_many_callers_make_the_device_do_is_done_before_they_come(
    model: MetaModel, stacked: bool, tmp_path: Path, stacks: Stacks
) -> None:
    write_tiny(tmp_path, model=model)
    served = load_catalog(tmp_path, device=CPU, default="tiny").find(None)
    with DeviceWorker(Engine(CPU), queue_items=1000) as worker:
        asyncio.run(warm_up(served, worker))
    assert any(count >= STACKING["cpu"].adapt_from for count in stacks.adapted) is stacked
    assert any(count >= STACKING["cpu"].embed_from for count in stacks.embedded) is stacked
