"""From a finished run to the model store: the largest honest step count, the evaluation table, the manifest."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from service.inputs.specification import ImageInput
from service.learner.episodes import ClassInputs, EpisodeShape
from service.learner.familiarity import measures_distance, spread
from service.learner.meta_model import MetaModel
from service.registry.manifest import EvaluationRow, Training
from service.registry.write import write
from service.training.evaluate import evaluate, pool
from service.training.meta_train import Trained
from service.training.options import TrainOptions

STEP_SEARCH_EPISODES = 400


def publish(options: TrainOptions, trained: Trained, data: Mapping[str, ClassInputs], store: Path) -> Path:
    """Judge the trained meta-model on the test classes and write it to the store as the next version; gives its folder."""
    model = with_spread(with_honest_steps(options, trained.model, data["validation"]), data["validation"])
    test, label = data["test"], f"{options.data.source} test classes"
    rows = evaluation_rows(model, test, options, label=label)
    if options.final.rotations:
        rows += evaluation_rows(model, test.with_rotations(), options, label=f"{label}, turned ones among them")
    return write(
        store, options.name, model, takes=ImageInput(options.preprocessing), training=_training(options, trained, data), evaluation=rows
    )


def with_honest_steps(options: TrainOptions, model: MetaModel, classes: ClassInputs) -> MetaModel:
    """Lower `steps_max` to the largest count whose validation loss is no worse than that of the default steps."""
    how = options.validation
    shape, prepared = EpisodeShape(how.way, (how.shot, how.shot), how.queries), pool(model, classes)

    def loss(steps: int) -> float:
        return evaluate(model, prepared, shape, steps=steps, episodes=STEP_SEARCH_EPISODES, seed=options.seed).loss

    default, limit = model.recipe.steps_default, model.recipe.steps_max
    bar = loss(default)
    honest = next((steps for steps in range(limit, default, -1) if loss(steps) <= bar), default)
    return replace(model, recipe=replace(model.recipe, steps_max=honest))


def with_spread(model: MetaModel, classes: ClassInputs) -> MetaModel:
    """Measure how far examples of unseen classes are from the centre of their own, each example the mean of its views."""
    if not measures_distance(model.recipe):
        return model
    prepared = pool(model, classes)
    examples, first = prepared.support.mean(dim=1), prepared.rows.first
    return replace(model, spread=spread(examples[start:end] for start, end in itertools.pairwise(first)))


def evaluation_rows(model: MetaModel, classes: ClassInputs, options: TrainOptions, *, label: str) -> list[EvaluationRow]:
    """Fill the evaluation table: every way and shot of the configuration that the classes and the head allow."""
    final, steps, prepared = options.final, model.recipe.steps_default, pool(model, classes)
    ways = [way for way in final.ways if way <= len(classes) and model.recipe.way in (None, way)]
    rows = []
    for way, shot in [(way, shot) for way in ways for shot in final.shots]:
        shape = EpisodeShape(way, (shot, shot), final.queries)
        judged = evaluate(model, prepared, shape, steps=steps, episodes=final.episodes, seed=options.seed)
        rows.append(
            EvaluationRow(
                data=label,
                way=way,
                shot=shot,
                scope=model.recipe.scope,
                steps=steps,
                accuracy=round(judged.accuracy, 5),
                ci95=round(judged.ci95, 5),
                calibration_error=round(judged.calibration_error, 5),
                episodes=final.episodes,
                queries_per_class=final.queries,
            )
        )
    return rows


def _training(options: TrainOptions, trained: Trained, data: Mapping[str, ClassInputs]) -> Training:
    return Training(
        preset=options.preset,
        paper=options.algorithm.paper,
        config=options.model_dump(mode="json"),
        classes={part: len(classes) for part, classes in data.items()},
        validation_classes=data["validation"].names,
        meta_steps=trained.steps,
        best_step=trained.best.step,
        seconds=round(trained.seconds, 1),
        torch=str(torch.__version__),
        threads=options.threads,
    )
