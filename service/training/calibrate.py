"""The temperatures of a meta-model's scores, fitted on its validation classes, or tables."""

import math
from itertools import product

import torch

from service.learner.calibration import Calibration, Cell, fit_temperature
from service.learner.episodes import ClassInputs, EpisodeShape
from service.learner.meta_model import MetaModel
from service.learner.recipe import Recipe
from service.training.evaluate import EndlessPool, Pool, answers, fitting_shapes, prepared
from service.training.options import TrainOptions
from service.training.sources.tables import Tables


def calibrate(model: MetaModel, classes: ClassInputs | Tables, options: TrainOptions) -> Calibration | None:
    """Fit a temperature for each way and shot that the classes allow, and each count of inner steps; None where they allow none."""
    how, queries = options.calibration, options.validation.queries
    shapes = fitting_shapes(classes, model.recipe, how.ways, [(shot, shot) for shot in how.shots], queries=queries)
    ready = prepared(model, classes)
    cells = [_fitted(model, ready, shape, steps=steps, options=options) for shape, steps in product(shapes, counts_of_steps(model.recipe))]
    return Calibration(named(options, "validation", classes), how.queries, tuple(cells)) if cells else None


def named(options: TrainOptions, part: str, tasks: ClassInputs | Tables) -> str:
    """Say what a part of the data is."""
    source = options.data.source
    return f"{source} {part} classes" if isinstance(tasks, ClassInputs) else f"invented {part} {source}"


def counts_of_steps(recipe: Recipe) -> list[int]:
    """Give the counts of inner steps that are told apart: none, the first, which changes the most, the default and the most."""
    return sorted({0, min(1, recipe.steps_max), recipe.steps_default, recipe.steps_max})


def _fitted(model: MetaModel, ready: Pool | EndlessPool, shape: EpisodeShape, *, steps: int, options: TrainOptions) -> Cell:
    episodes = math.ceil(options.calibration.queries / (shape.way * shape.queries))
    answered = list(answers(model, ready, shape, steps=steps, episodes=episodes, seed=options.seed))
    temperature = fit_temperature(torch.cat([each.logits for each in answered]), torch.cat([each.labels for each in answered]))
    return Cell(shape.way, shape.shot[0], steps, round(temperature, 4))
