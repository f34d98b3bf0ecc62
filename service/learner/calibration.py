"""Temperature scaling: scores that are right as often as they say, one temperature for each kind of task.

Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, arXiv:1706.04599.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from service.learner.parameters import Params

# A cell whose queries are all answered rightly would be fitted best by a temperature of nothing.
LOWEST, HIGHEST = 0.1, 20.0
HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Cell:
    """The temperature of one kind of task: logits are divided by it before the softmax."""

    way: int
    shot: int
    steps: int
    temperature: float

    def __post_init__(self) -> None:
        """Refuse what no task has; raises ValueError."""
        if self.way < 2 or self.shot < 1 or self.steps < 0:
            raise ValueError(f"expected way >= 2, shot >= 1 and steps >= 0, got {self.way}, {self.shot} and {self.steps}")
        if not LOWEST <= self.temperature <= HIGHEST:
            raise ValueError(f"expected a temperature of {LOWEST} to {HIGHEST}, got {self.temperature}")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperatures fitted on classes that were neither trained nor judged on.

    Attributes:
        data: what they were fitted on.
        queries: how many answers each was fitted on, about.
        cells: one for each way, shot and count of inner steps.
    """

    data: str
    queries: int
    cells: tuple[Cell, ...]

    def __post_init__(self) -> None:
        """Refuse a calibration that says nothing; raises ValueError."""
        if not self.cells:
            raise ValueError("expected at least one cell, got none")

    def temperature(self, shots: Sequence[int], steps: int) -> float:
        """Give the temperature for a task, from the examples of each of its classes: that of the nearest cell.

        Near is by factors, since twice the ways or the shots is as far wherever it starts; uneven shots count by their mean,
        and of cells as near the first one is taken.
        """
        way, shot = len(shots), sum(shots) / len(shots)

        def factors(cell: Cell) -> float:
            return _factor(cell.way, way) * _factor(cell.shot, shot) * _factor(1 + cell.steps, 1 + steps)

        return min(self.cells, key=factors).temperature


def _factor(one: float, other: float) -> float:
    return one / other if one > other else other / one


def cooled(params: Params, temperature: float) -> dict[str, Tensor]:
    """Give adapted parameters whose head has logits that are already divided by the temperature."""
    return {name: value / temperature if name in ("head.weight", "head.bias") else value for name, value in params.items()}


@torch.no_grad()
def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Give the temperature with the least cross-entropy: logits [N, way], labels [N] int64.

    The loss is convex in the inverse temperature, and its slope there is how far the expected logit lies above the label's,
    so halving finds it.
    """
    own = logits.gather(1, labels.unsqueeze(1)).mean()
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        expected = ((middle * logits).softmax(dim=1) * logits).sum(dim=1).mean()
        low, high = (low, middle) if expected > own else (middle, high)
    return 1 / math.sqrt(low * high)
