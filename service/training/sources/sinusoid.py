"""Regression tasks of the literature: sine waves of random amplitude and phase."""

import math
from dataclasses import dataclass

import torch

from service.learner.episodes import Episode, EpisodeShape, Support

AMPLITUDES, PHASES, INPUTS = (0.1, 5.0), (0.0, math.pi), (-5.0, 5.0)


@dataclass(frozen=True, slots=True)
class Sinusoids:
    """All tasks y = A·sin(x − φ): A in [0.1, 5], φ in [0, π], x in [−5, 5], each uniform.

    Source: Finn, Abbeel and Levine (2017), arXiv:1703.03400, section 5.1.
    """

    def episode(self, shape: EpisodeShape, generator: torch.Generator) -> Episode:
        """Draw a task: x [N, 1] and y [N, 1], `shape.shot` examples and `shape.queries` queries."""
        amplitude, phase = (_uniform(ends, 1, generator) for ends in (AMPLITUDES, PHASES))
        shot = int(torch.randint(shape.shot[0], shape.shot[1] + 1, (), generator=generator))
        inputs = _uniform(INPUTS, shot + shape.queries, generator).unsqueeze(1)
        targets = amplitude * torch.sin(inputs - phase)
        return Episode(Support(inputs[:shot], targets[:shot], 1), inputs[shot:], targets[shot:])


def _uniform(ends: tuple[float, float], count: int, generator: torch.Generator) -> torch.Tensor:
    return ends[0] + (ends[1] - ends[0]) * torch.rand(count, generator=generator)
