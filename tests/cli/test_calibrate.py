import json
from pathlib import Path
from typing import Any

import pytest

from service.registry.read import read
from service.training.options import TrainOptions
from service.training.publish import publish
from service.training.sources.load import load_classes, load_tasks
from tests.cli.conftest import Command
from tests.registry.stored import edit_manifest
from tests.training.runs import tiny_options, train

OPTIONS = tiny_options(
    data={"source": "glyphs", "classes": 10, "drawings": 6}, validation={"every": 9, "episodes": 4, "way": 4, "queries": 2}
)

REGRESSION: dict[str, Any] = {
    "name": "waves",
    "preset": "cavia",
    "threads": 1,
    "data": {"source": "sinusoid"},
    "encoder": {"kind": "mlp", "inputs": 1, "width": 4, "context": 2},
    "recipe": {"head": "output", "way": 1, "steps_default": 1, "steps_max": 1},
    "stages": [{"steps": 2, "way": [2, 2], "shot": [5, 5], "queries": 4, "inner_steps": 1}],
    "validation": {"every": 2, "episodes": 4, "way": 2, "shot": 5, "queries": 4},
    "final": {"shots": [5], "episodes": 4, "queries": 4},
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A meta-model that was trained and calibrated on invented characters."""
    folder = tmp_path_factory.mktemp("trained")
    data = load_classes(OPTIONS, data_root=None)
    trained = train(OPTIONS, folder / "run", data=data)
    assert trained is not None
    return publish(OPTIONS, trained, data, folder / "store")


def test_it_writes_the_next_version_with_the_same_weights_and_the_temperatures_of_publishing(published: Path, command: Command) -> None:
    calibration = read(published).manifest.calibration
    assert calibration is not None
    edit_manifest(published, lambda table: table.update(calibration=None))
    result = command("calibrate", "tiny", "--model-store", published.parents[1])
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"written to {published.parent / '2'}\n")
    assert "## Calibration" in result.stdout
    stored = read(published.parent / "2")
    assert stored.manifest.calibration == calibration
    assert stored.manifest.weights == read(published).manifest.weights
    assert stored.manifest.evaluation == read(published).manifest.evaluation


def test_as_json_it_gives_the_figures_and_where_it_is(published: Path, command: Command) -> None:
    result = command("calibrate", "tiny@1", "--model-store", published.parents[1], "--json")
    found, folder = json.loads(result.stdout), max(published.parent.iterdir())
    assert (found["name"], str(found["version"]), found["folder"]) == ("tiny", folder.name, str(folder))
    assert found["evaluation"] == [row.model_dump(mode="json") for row in read(folder).manifest.evaluation]


def test_a_meta_model_of_an_unknown_configuration_is_refused_in_one_line(command: Command, model_store: Path) -> None:
    result = command("calibrate", "tiny", "--model-store", model_store)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert "the configuration of tiny: name: Field required" in result.stderr


def test_a_regression_is_refused_and_no_version_is_written(tmp_path: Path, command: Command) -> None:
    options = TrainOptions.model_validate(REGRESSION)
    data = load_tasks(options, data_root=None)
    trained = train(options, tmp_path / "run", data=data)
    assert trained is not None
    folder = publish(options, trained, data, tmp_path / "store")
    result = command("calibrate", options.name, "--model-store", tmp_path / "store")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert "predicts numbers, which have none" in result.stderr
    assert [each.name for each in folder.parent.iterdir()] == ["1"]
