"""From a finished run to the model store: the largest honest step count, the evaluation table, the manifest."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from service.inputs.specification import ImageInput
from service.learner.episodes import ClassInputs, EpisodeShape
from service.learner.meta_model import MetaModel
from service.registry.manifest import EvaluationRow, Training
from service.registry.read import Stored
from service.registry.write import Findings, write
from service.training.calibrate import calibrate
from service.training.evaluate import Pool, evaluate, pool
from service.training.meta_train import Trained
from service.training.options import TrainOptions

STEP_SEARCH_EPISODES = 400


def publish(options: TrainOptions, trained: Trained, data: Mapping[str, ClassInputs], store: Path) -> Path:
    """Judge the trained meta-model on the test classes and write it to the store as the next version; gives its folder."""
    model = with_honest_steps(options, trained.model, data["validation"])
    return write(
        store,
        options.name,
        model,
        takes=ImageInput(options.preprocessing),
        training=_training(options, trained, data),
        findings=find_out(model, data, options),
    )


def calibrate_again(stored: Stored, options: TrainOptions, data: Mapping[str, ClassInputs], store: Path) -> Path:
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


def find_out(model: MetaModel, data: Mapping[str, ClassInputs], options: TrainOptions) -> Findings:
    """Calibrate on the validation classes, then judge on the test classes."""
    calibration = calibrate(model, data["validation"], options)
    test, label = data["test"], f"{options.data.source} test classes"
    rows = evaluation_rows(model, pool(model, test, calibration), options, label=label)
    if options.final.rotations:
        turned = pool(model, test.with_rotations(), calibration)
        rows += evaluation_rows(model, turned, options, label=f"{label}, turned ones among them")
    return Findings(rows, calibration)


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


def evaluation_rows(model: MetaModel, prepared: Pool, options: TrainOptions, *, label: str) -> list[EvaluationRow]:
    """Fill the evaluation table: every way and shot of the configuration that the classes and the head allow."""
    final, steps = options.final, model.recipe.steps_default
    ways = [way for way in final.ways if way <= len(prepared.rows) and model.recipe.way in (None, way)]
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
        train_classes=data["train"].names[: len(data["train"]) // options.data.copies],
        validation_classes=data["validation"].names,
        test_classes=data["test"].names,
        starting_weights=trained.starting_weights,
        pretraining_steps=min(trained.steps, options.pretraining.steps),
        meta_steps=max(0, trained.steps - options.pretraining.steps),
        best_step=trained.best.step,
        seconds=round(trained.seconds, 1),
        torch=str(torch.__version__),
        threads=options.threads,
    )
