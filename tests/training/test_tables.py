"""A meta-model of invented tables: trained, calibrated, judged, published, calibrated again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from service.errors import BadConfigError
from service.inputs.specification import VectorInput
from service.learner.episodes import ClassInputs, EpisodeShape
from service.learner.meta_model import adapt, answer
from service.registry.read import read
from service.training.evaluate import EndlessPool, evaluate
from service.training.options import TrainOptions, options_of
from service.training.publish import calibrate_again, publish
from service.training.sources.load import load_classes, load_tasks
from service.training.sources.tables import Tables
from tests.tiny import tiny_model
from tests.training.runs import Heard, train

TABLE: dict[str, Any] = {
    "name": "rows",
    "preset": "r2d2",
    "threads": 1,
    "data": {"source": "tables", "columns": [2, 10]},
    "encoder": {"kind": "identity", "width": 12},
    "recipe": {"head": "discriminant"},
    "stages": [{"steps": 40, "way": [2, 4], "shot": [1, 6], "uneven": True, "queries": 4, "episodes": 4}],
    "optimiser": {"learning_rate": 5e-2, "weight_decay": 0, "ema": 0.9},
    "validation": {"every": 20, "episodes": 40, "way": 3, "shot": 3, "queries": 4},
    "calibration": {"ways": [2, 4], "shots": [1, 5], "queries": 400},
    "final": {"ways": [2, 3], "shots": [1, 5], "episodes": 20, "queries": 4},
}
OPTIONS = TrainOptions.model_validate(TABLE)


def test_it_is_trained_calibrated_judged_and_published(tmp_path: Path) -> None:
    heard, data = Heard(), load_tasks(OPTIONS, data_root=None)
    trained = train(OPTIONS, tmp_path / "run", heard=heard, data=data)
    assert trained is not None
    stored = read(publish(OPTIONS, trained, data, tmp_path / "store"))
    manifest = stored.manifest
    assert manifest.input == VectorInput(None, longest=12)
    assert [(row.data, row.way, row.shot) for row in manifest.evaluation] == [
        ("invented test tables", way, shot) for way in (2, 3) for shot in (1, 5)
    ]
    assert manifest.calibration is not None
    assert manifest.calibration.data == "invented validation tables"
    assert [(cell.way, cell.shot) for cell in manifest.calibration.cells] == [(2, 1), (2, 5), (4, 1), (4, 5)]
    assert set(stored.model.params) == {"head.log_scale", "head.log_penalty", "head.log_evidence"}
    assert all(float(value) != 0 for value in stored.model.params.values()), "all of them were learned"
    card = (tmp_path / "store" / "rows" / "1" / "CARD.md").read_text(encoding="utf-8")
    assert "vectors of any length up to 12" in card
    assert "Classes:" not in card
    again = read(calibrate_again(stored, options_of(manifest.training.config, place="manifest"), data, tmp_path / "store"))
    assert (again.manifest.version, again.manifest.calibration) == (2, manifest.calibration)


def test_training_lowers_the_loss_of_tables_it_has_not_seen(tmp_path: Path) -> None:
    """From numbers that are far off."""
    data = load_tasks(OPTIONS, data_root=None)
    stage = OPTIONS.stages[0].model_copy(update={"steps": 150})
    trained = train(OPTIONS.model_copy(update={"stages": (stage,)}), tmp_path, data=data)
    assert trained is not None
    before, after = (
        evaluate(each, EndlessPool(each, data["test"]), EpisodeShape(3, (4, 4), 4), steps=0, episodes=200, seed=3).loss  # type: ignore[arg-type]
        for each in (tiny_model(OPTIONS.build_encoder(), OPTIONS.build_recipe()), trained.model)
    )
    assert after < before


def test_judging_many_tasks_at_once_equals_adapting_to_each_and_asking_one_row_at_a_time() -> None:
    model, tables, shape = (
        tiny_model(OPTIONS.build_encoder(), OPTIONS.build_recipe()),
        Tables(12, (2, 10), 5),
        EpisodeShape(3, (1, 4), 2, True),
    )
    generator, right = torch.Generator().manual_seed(9), []
    for _ in range(30):
        episode = tables.episode(shape, generator)
        adapted = adapt(model, episode.support, 0).params
        found = torch.cat([answer(model, adapted, row.unsqueeze(0)) for row in episode.queries]).argmax(dim=1)
        right.append((found == episode.query_labels).float().mean())
    judged = evaluate(model, EndlessPool(model, tables), shape, steps=0, episodes=30, seed=9)
    assert judged.accuracy == pytest.approx(float(torch.stack(right).mean()), abs=1e-6)


def test_its_parts_are_tables_of_disjoint_seeds_and_no_classes() -> None:
    data = load_tasks(OPTIONS, data_root=None)
    assert [each.seed for each in data.values() if isinstance(each, Tables)] == [0, 1, 2]
    assert not any(isinstance(each, ClassInputs) for each in data.values())
    with pytest.raises(BadConfigError, match="expected data of classes, got a configuration of tables"):
        load_classes(OPTIONS, data_root=None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoder": {"kind": "identity", "width": 9}}, "up to 10 numbers, but .encoder. takes .9,.; use kind = 'identity', as wide"),
        ({"encoder": {"kind": "conv4"}}, "use kind = 'identity'"),
        ({"data": {"source": "tables", "columns": [5, 2]}}, r"expected columns = \[low, high\]"),
        ({"data": {"source": "tables", "columns": [0, 2]}}, r"expected columns = \[low, high\]"),
        ({"pretraining": {"steps": 5}}, "leave them out for tables"),
        ({"precision": "bfloat16"}, "leave them out for tables"),
        ({"recipe": {"head": "output", "way": 1}}, "tables is of classes"),
        ({"data": {"source": "glyphs"}}, "gives inputs of shape"),
    ],
)
def test_what_does_not_go_with_tables_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TrainOptions.model_validate({**TABLE, **changes})
