from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from service.learner.descent import DESCENTS
from tests.learner.tasks import distance


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("sgd", lambda values: torch.optim.SGD(values, lr=0.1)),
        ("adam", lambda values: torch.optim.Adam(values, lr=0.1, betas=(0.0, 0.999))),
    ],
)
def test_a_descent_takes_the_steps_of_torchs_optimiser(
    kind: str, theirs: Callable[[list[Tensor]], torch.optim.Optimizer], generator: torch.Generator
) -> None:
    """On (x − target)² from the same start; Reptile's Adam has no first moment."""
    start, target = torch.randn(5, generator=generator), torch.randn(5, generator=generator)
    expected = start.clone().requires_grad_()
    optimiser = theirs([expected])
    descend, moved = DESCENTS["adam" if kind == "adam" else "sgd"](), {"x": start}
    for _ in range(4):
        optimiser.zero_grad()
        (expected - target).square().sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        moved = descend(moved, {"x": 2 * (moved["x"] - target)}, {"x": torch.tensor(0.1)})
        assert distance(moved["x"], expected) < 1e-6


def test_every_inner_loop_has_an_adam_of_its_own() -> None:
    steps = []
    for _ in range(2):
        descend = DESCENTS["adam"]()
        steps.append(descend({"x": torch.ones(1)}, {"x": torch.full((1,), 3.0)}, {"x": torch.tensor(0.1)})["x"].item())
    assert steps[0] == steps[1] == pytest.approx(0.9)
