from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from service.learner.episodes import EpisodeShape
from service.learner.meta_model import adapt, answer
from service.registry.read import read
from service.training.options import TrainOptions
from service.training.publish import publish
from service.training.regression import Errors, judge_regression
from service.training.sources.load import load_tasks
from service.training.sources.sinusoid import Sinusoids
from tests.training.runs import Heard, train

TABLE: dict[str, Any] = {
    "name": "waves",
    "preset": "cavia",
    "threads": 1,
    "data": {"source": "sinusoid"},
    "encoder": {"kind": "mlp", "inputs": 1, "width": 16, "context": 3},
    "recipe": {"head": "output", "way": 1, "steps_default": 1, "steps_max": 3, "step_size": 0.5},
    "stages": [{"steps": 60, "way": [2, 2], "shot": [5, 10], "queries": 10, "inner_steps": 1, "episodes": 4}],
    "optimiser": {"learning_rate": 1e-2, "weight_decay": 0, "ema": 0.9},
    "validation": {"every": 30, "episodes": 20, "way": 2, "shot": 10, "queries": 10},
    "final": {"shots": [5, 10], "episodes": 10, "queries": 10},
}
OPTIONS = TrainOptions.model_validate(TABLE)
SHAPE = EpisodeShape(1, (10, 10), 20)


def test_a_regression_is_trained_judged_and_published_with_its_own_table(tmp_path: Path) -> None:
    heard, data = Heard(), load_tasks(OPTIONS, data_root=None)
    trained = train(OPTIONS, tmp_path / "run", heard=heard, data=data)
    assert trained is not None
    assert trained.best.score == max(errors.score for errors in heard.judged)
    stored = read(publish(OPTIONS, trained, data, tmp_path / "store"))
    manifest = stored.manifest
    assert [(row.shot, row.steps) for row in manifest.errors] == [
        (shot, steps) for shot in (5, 10) for steps in sorted({1, manifest.recipe.steps_max})
    ]
    assert (manifest.evaluation, manifest.calibration, manifest.scopes, manifest.input.kind) == ((), None, ("context",), "vector")
    row = manifest.errors[-1]
    expected = judge_regression(stored.model, Sinusoids(), replace(SHAPE, queries=10), steps=row.steps, episodes=10, seed=OPTIONS.seed)
    assert row.squared_error == pytest.approx(expected.mean, abs=1e-4)
    assert "squared error" in (tmp_path / "store" / "waves" / "1" / "CARD.md").read_text(encoding="utf-8")


def test_training_lowers_the_error_of_tasks_it_has_not_seen(tmp_path: Path) -> None:
    data = load_tasks(OPTIONS, data_root=None)
    first, last = (train(OPTIONS.model_copy(update={"stages": (OPTIONS.stages[0].model_copy(update={"steps": steps}),)}),
                         tmp_path / str(steps), data=data) for steps in (1, 300))  # fmt: skip
    assert first is not None
    assert last is not None
    before, after = (judge_regression(each.model, Sinusoids(), SHAPE, steps=1, episodes=100, seed=3).mean for each in (first, last))
    assert after < 0.7 * before


def test_errors_are_those_of_the_slow_loop(tmp_path: Path) -> None:
    trained = train(OPTIONS, tmp_path, data=load_tasks(OPTIONS, data_root=None))
    assert trained is not None
    generator, found = torch.Generator().manual_seed(5), []
    for _ in range(8):
        episode = Sinusoids().episode(SHAPE, generator)
        params = adapt(trained.model, episode.support, 2).params
        one_by_one = torch.cat([answer(trained.model, params, query[None]) for query in episode.queries])
        found.append(float((one_by_one - episode.query_labels).square().mean()))
    judged = judge_regression(trained.model, Sinusoids(), SHAPE, steps=2, episodes=8, seed=5)
    assert judged.mean == pytest.approx(sum(found) / 8, rel=1e-4)
    assert judged.median == pytest.approx(sorted(found)[3], rel=1e-4)


def test_a_diverged_task_has_the_worst_score() -> None:
    assert Errors(float("nan"), 0.0, 0.1).score < Errors(1e9, 0.0, 1e9).score


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"recipe": {"head": "prototype", "steps_default": 1, "steps_max": 3, "way": None}}, "is a regression, which takes"),
        ({"data": {"source": "glyphs"}}, "is of classes, which takes any but"),
        ({"precision": "bfloat16"}, "for pictures in classes"),
        ({"encoder": {**TABLE["encoder"], "inputs": 2}}, "gives inputs of shape"),
        ({"encoder": {**TABLE["encoder"], "context": 0}}, "context parameters"),
    ],
)
def test_what_does_not_go_with_a_regression_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TrainOptions.model_validate({**TABLE, **changes})
