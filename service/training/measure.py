"""What a report says of a meta-model: cells of the table, the curve over inner steps, the time that adapting takes."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from service.learner.episodes import ClassInputs, EpisodeShape, Support, sample_episode
from service.learner.meta_model import MetaModel, adapt, as_served
from service.learner.recipe import Recipe
from service.training.evaluate import Pool, evaluate, fitting_shapes

WAYS, SHOTS = (2, 5, 20, 50, 100), ((1, 1), (5, 5), (10, 10))
UNEVEN = (1, 10)

# The usual cells of the literature, which the curve and the times are of.
USUAL_WAYS, USUAL_SHOTS = (5, 20), ((1, 1), (5, 5))

WARM_UP, TIMED = 3, 20


@dataclass(frozen=True, slots=True)
class Judging:
    """How every row is judged."""

    episodes: int
    queries: int
    seed: int


@dataclass(frozen=True, slots=True)
class ClassificationRow:
    """Accuracy over episodes of one kind, every query judged alone; `shot` is a closed range, drawn from per class when it is one."""

    kind: Literal["classification"]
    way: int
    shot: tuple[int, int]
    steps: int
    accuracy: float
    ci95: float
    loss: float
    calibration_error: float
    episodes: int
    queries_per_class: int


# A row of another kind of task has fields of its own.
Row = ClassificationRow


@dataclass(frozen=True, slots=True)
class TimeRow:
    """Milliseconds of adapting to one support set at a time, encoder and inner loop; median and quartiles."""

    way: int
    shot: int
    steps: int
    median: float
    quartiles: tuple[float, float]


def shapes(classes: ClassInputs, recipe: Recipe, *, queries: int) -> list[EpisodeShape]:
    """Give the kinds of episode of a report, as far as the classes and the head go."""
    return [shape for shots in (SHOTS, (UNEVEN,)) for shape in fitting_shapes(classes, recipe, WAYS, shots, queries=queries)]


def usual(chosen: Sequence[EpisodeShape]) -> list[EpisodeShape]:
    """Keep the usual cells; the first one where none is."""
    return [each for each in chosen if each.way in USUAL_WAYS and each.shot in USUAL_SHOTS] or list(chosen[:1])


def judge(model: MetaModel, pool: Pool, shape: EpisodeShape, how: Judging, *, steps: int) -> Row:
    """Judge one kind of episode; raises as `evaluate` does."""
    found = evaluate(model, pool.within(shape.group) if shape.group else pool, shape, steps=steps, episodes=how.episodes, seed=how.seed)
    return ClassificationRow(
        kind="classification",
        way=shape.way,
        shot=shape.shot,
        steps=steps,
        accuracy=found.accuracy,
        ci95=found.ci95,
        loss=found.loss,
        calibration_error=found.calibration_error,
        episodes=how.episodes,
        queries_per_class=shape.queries,
    )


def adaptation_time(
    model: MetaModel, classes: ClassInputs, shape: EpisodeShape, *, steps: int, clock: Callable[[], float] = time.perf_counter
) -> TimeRow:
    """Time adapting on the CPU, folded as it is served, one support set after the other."""
    served, generator = as_served(model, torch.device("cpu")), torch.Generator().manual_seed(0)
    supports = [sample_episode(classes, replace(shape, group=0), generator).support for _ in range(WARM_UP + TIMED)]
    spent = [_milliseconds(served, support, steps, clock) for support in supports][WARM_UP:]
    low, median, high = statistics.quantiles(spent, n=4)
    return TimeRow(shape.way, shape.shot[0], steps, median, (low, high))


def _milliseconds(model: MetaModel, support: Support, steps: int, clock: Callable[[], float]) -> float:
    began = clock()
    adapt(model, support, steps)
    return 1000 * (clock() - began)
