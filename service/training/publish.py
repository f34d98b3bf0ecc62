"""From a finished run to the model store: the largest honest step count, the evaluation table, the manifest."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import torch

from service.inputs.specification import ImageInput, InputSpecification, VectorInput
from service.learner.episodes import ClassInputs, EpisodeShape
from service.learner.familiarity import measures_distance, spread
from service.learner.meta_model import MetaModel
from service.registry.manifest import ErrorRow, EvaluationRow, Training
from service.registry.read import Stored
from service.registry.write import Findings, write
from service.training.calibrate import calibrate, named
from service.training.evaluate import EndlessPool, Pool, evaluate, pool, prepared
from service.training.meta_train import Trained
from service.training.options import ImageData, TableData, TrainOptions
from service.training.regression import judge_regression
from service.training.sources.sinusoid import Sinusoids
from service.training.tasks import Tasks, judge_on

STEP_SEARCH_EPISODES = 400


def publish(options: TrainOptions, trained: Trained, data: Mapping[str, Tasks], store: Path) -> Path:
    """Judge the trained meta-model on the test classes and write it to the store as the next version; gives its folder."""
    model = with_honest_steps(options, trained.model, data["validation"])
    model = with_spread(model, data["validation"])
    return write(
        store,
        options.name,
        model,
        takes=_takes(options, model),
        training=_training(options, trained, data),
        findings=find_out(model, data, options),
    )


def _takes(options: TrainOptions, model: MetaModel) -> InputSpecification:
    if isinstance(options.data, ImageData):
        return ImageInput(options.preprocessing)
    length = model.encoder.input_shape[0]
    return VectorInput(None, longest=length) if isinstance(options.data, TableData) else VectorInput(length)


def calibrate_again(stored: Stored, options: TrainOptions, data: Mapping[str, Tasks], store: Path) -> Path:
    """Calibrate a stored meta-model's scores on the validation classes, judge it again, and write it as the next version; gives its folder.

    Weights, recipe and what is known of the training stay.
    """
    manifest = stored.manifest
    return write(
        store,
        manifest.name,
        stored.model,
        takes=manifest.input,
        training=manifest.training,
        findings=find_out(stored.model, data, options),
    )


def find_out(model: MetaModel, data: Mapping[str, Tasks], options: TrainOptions) -> Findings:
    """Calibrate on the validation classes, then judge on the test classes; a regression has no scores to calibrate."""
    test, validation = data["test"], data["validation"]
    if isinstance(test, Sinusoids):
        return Findings(errors=error_rows(model, test, options, label=f"{options.data.source} tasks"))
    label = named(options, "test", test)
    calibration = None if isinstance(validation, Sinusoids) else calibrate(model, validation, options)
    rows = evaluation_rows(model, prepared(model, test, calibration), options, label=label)
    if options.final.rotations and isinstance(test, ClassInputs):
        turned = pool(model, test.with_rotations(), calibration)
        rows += evaluation_rows(model, turned, options, label=f"{label}, turned ones among them")
    return Findings(rows, calibration)


def with_honest_steps(options: TrainOptions, model: MetaModel, tasks: Tasks) -> MetaModel:
    """Lower `steps_max` to the largest count whose validation loss is no worse than that of the default steps."""
    how = options.validation
    shape, judge = EpisodeShape(how.way, (how.shot, how.shot), how.queries), judge_on(model, tasks)

    def loss(steps: int) -> float:
        return judge(shape, steps=steps, episodes=STEP_SEARCH_EPISODES, seed=options.seed).loss

    default, limit = model.recipe.steps_default, model.recipe.steps_max
    bar = loss(default)
    honest = next((steps for steps in range(limit, default, -1) if loss(steps) <= bar), default)
    return replace(model, recipe=replace(model.recipe, steps_max=honest))


def with_spread(model: MetaModel, tasks: Tasks) -> MetaModel:
    """Measure how far examples of unseen classes are from the centre of their own, each example the mean of its views."""
    if not isinstance(tasks, ClassInputs) or not measures_distance(model.recipe):
        return model
    seen = pool(model, tasks)
    examples, first = seen.support.mean(dim=1), seen.rows.first
    return replace(model, spread=spread(examples[start:end] for start, end in pairwise(first)))


def evaluation_rows(model: MetaModel, ready: Pool | EndlessPool, options: TrainOptions, *, label: str) -> list[EvaluationRow]:
    """Fill the evaluation table: every way and shot of the configuration that the classes and the head allow."""
    final, steps = options.final, model.recipe.steps_default
    ways = [way for way in final.ways if ready.allows(way) and model.recipe.way in (None, way)]
    rows = []
    for way, shot in [(way, shot) for way in ways for shot in final.shots]:
        shape = EpisodeShape(way, (shot, shot), final.queries)
        judged = evaluate(model, ready, shape, steps=steps, episodes=final.episodes, seed=options.seed)
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


def error_rows(model: MetaModel, tasks: Sinusoids, options: TrainOptions, *, label: str) -> list[ErrorRow]:
    """Fill the table of a regression: every shot of the configuration, after one step, the default and the most."""
    final, recipe = options.final, model.recipe
    rows = []
    for shot, steps in product(final.shots, sorted({min(1, recipe.steps_max), recipe.steps_default, recipe.steps_max})):
        shape = EpisodeShape(options.validation.way, (shot, shot), final.queries)
        found = judge_regression(model, tasks, shape, steps=steps, episodes=final.episodes, seed=options.seed)
        rows.append(
            ErrorRow(
                data=label,
                shot=shot,
                scope=recipe.scope,
                steps=steps,
                squared_error=round(found.mean, 5),
                ci95=round(found.ci95, 5),
                median=round(found.median, 5),
                episodes=final.episodes,
                queries=final.queries,
            )
        )
    return rows


def _training(options: TrainOptions, trained: Trained, data: Mapping[str, Tasks]) -> Training:
    classes = {part: tasks for part, tasks in data.items() if isinstance(tasks, ClassInputs)}
    names = {part: each.names for part, each in classes.items()}
    return Training(
        preset=options.preset,
        paper=options.algorithm.paper,
        config=options.model_dump(mode="json"),
        classes={part: len(each) for part, each in classes.items()},
        train_classes=names.get("train", ())[: len(names.get("train", ())) // options.data.copies],
        validation_classes=names.get("validation", ()),
        test_classes=names.get("test", ()),
        starting_weights=trained.starting_weights,
        pretraining_steps=min(trained.steps, options.pretraining.steps),
        meta_steps=max(0, trained.steps - options.pretraining.steps),
        best_step=trained.best.step,
        seconds=round(trained.seconds, 1),
        torch=str(torch.__version__),
        threads=options.threads,
    )
