"""How well a meta-model predicts numbers: tasks it has not seen, every query answered alone."""

import math
from dataclasses import dataclass

import torch

from service.learner.episodes import EpisodeShape
from service.learner.meta_model import MetaModel, adapt, answer
from service.training.sources.sinusoid import Sinusoids


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean squared error of tasks: its mean and median over them, and the half-width of the mean's 95 % confidence interval."""

    mean: float
    ci95: float
    median: float

    @property
    def score(self) -> float:
        """What validation compares, larger is better; a diverged task makes it the worst there is."""
        return -self.mean if math.isfinite(self.mean) else -math.inf

    @property
    def loss(self) -> float:
        """The query loss, which is the error itself."""
        return self.mean

    def curves(self) -> dict[str, float]:
        """What is followed over a run."""
        return {"squared_error": self.mean, "median_squared_error": self.median}

    def __str__(self) -> str:
        return f"squared error {self.mean:.4f} ± {self.ci95:.4f}, median {self.median:.4f}"


def judge_regression(model: MetaModel, tasks: Sinusoids, shape: EpisodeShape, *, steps: int, episodes: int, seed: int) -> Errors:
    """Adapt to sampled tasks as the server does, and compare the answers with the truth."""
    generator = torch.Generator().manual_seed(seed)
    errors = torch.tensor([_error(model, tasks, shape, steps, generator) for _ in range(episodes)], dtype=torch.float64)
    spread = errors.std().item() if episodes > 1 else math.nan
    return Errors(errors.mean().item(), 1.96 * spread / math.sqrt(episodes), errors.median().item())


def _error(model: MetaModel, tasks: Sinusoids, shape: EpisodeShape, steps: int, generator: torch.Generator) -> float:
    episode = tasks.episode(shape, generator)
    found = answer(model, adapt(model, episode.support, steps).params, episode.queries)
    return (found - episode.query_labels).square().mean().item()
