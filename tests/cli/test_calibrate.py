import json
from pathlib import Path

import pytest

from service.registry.read import read
from service.training.publish import publish
from service.training.sources.load import load_classes
from tests.cli.conftest import Command
from tests.registry.stored import edit_manifest
from tests.training.runs import tiny_options, train

OPTIONS = tiny_options(
    data={"source": "glyphs", "classes": 10, "drawings": 6}, validation={"every": 9, "episodes": 4, "way": 4, "queries": 2}
)


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
