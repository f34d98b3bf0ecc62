"""How the inner loop goes down a slope."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from service.learner.parameters import Params
from service.learner.recipe import OptimiserKind

# Moved parameters, their slopes and their step sizes → moved parameters.
Descent = Callable[[Params, Params, Params], dict[str, Tensor]]


def gradient_descent(moved: Params, slopes: Params, sizes: Params) -> dict[str, Tensor]:
    """Take a plain step."""
    return {name: value - sizes[name] * slopes[name] for name, value in moved.items()}


@dataclass(slots=True)
class Adam:
    """Adam without a first moment, as Reptile takes it: every number divided by the root mean square of its slopes.

    Remembers one inner loop. Sources: Kingma and Ba (2015), arXiv:1412.6980; Nichol, Achiam and Schulman (2018),
    arXiv:1803.02999, section 6.1 (β₁ = 0).
    """

    beta: float = 0.999
    epsilon: float = 1e-8
    _squares: dict[str, Tensor] = field(default_factory=dict)
    _steps: int = 0

    def __call__(self, moved: Params, slopes: Params, sizes: Params) -> dict[str, Tensor]:
        self._steps += 1
        corrected = 1 - self.beta**self._steps
        before = self._squares or {name: torch.zeros_like(slope) for name, slope in slopes.items()}
        self._squares = {name: torch.lerp(before[name], slope.square(), 1 - self.beta) for name, slope in slopes.items()}
        return {
            name: value - sizes[name] * slopes[name] / ((self._squares[name] / corrected).sqrt() + self.epsilon)
            for name, value in moved.items()
        }


DESCENTS: Mapping[OptimiserKind, Callable[[], Descent]] = {"sgd": lambda: gradient_descent, "adam": Adam}
