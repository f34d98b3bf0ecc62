import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from service.errors import RegistryError
from service.inputs.preprocessing import Preprocessing
from service.inputs.specification import ImageInput, VectorInput
from service.learner.calibration import Calibration, Cell
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.mlp import Mlp
from service.learner.meta_model import MetaModel
from service.learner.recipe import Recipe
from service.registry.read import read
from service.registry.write import Findings, next_version, write
from tests.tiny import tiny_model, write_tiny

MODELS = {
    "learned step sizes": tiny_model(),
    "no statistics": tiny_model(Conv4(width=8, norm="group"), Recipe(scope="all", steps_default=1, steps_max=4)),
    "one step size for all": tiny_model(Conv4(width=8, projection=12), Recipe(learn_rates=True, steps_default=1, steps_max=2)),
    "one way only": tiny_model(Conv4(width=8, norm="group"), Recipe(scope="all", head="per_class", way=3, steps_default=1, steps_max=1)),
    "vectors": tiny_model(Mlp(5, width=7, layers=3), Recipe(head="zero", steps_default=2, steps_max=3)),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_what_is_read_is_what_was_written(tmp_path: Path, model: MetaModel) -> None:
    stored = read(write_tiny(tmp_path, "any-name", model))
    assert (stored.model.encoder, stored.model.recipe) == (model.encoder, model.recipe)
    for got, expected in ((stored.model.params, model.params), (stored.model.statistics, model.statistics)):
        assert set(got) == set(expected)
        assert all(got[name].numpy().tobytes() == value.numpy().tobytes() for name, value in expected.items())
        assert all(got[name].shape == value.shape for name, value in expected.items())
    assert (stored.manifest.name, stored.manifest.version, stored.manifest.scopes) == ("any-name", 1, (model.recipe.scope,))


@pytest.mark.parametrize(
    ("takes", "model"),
    [
        (ImageInput(Preprocessing("photo", size=32, channels=3, margin=0.25)), tiny_model(Conv4(channels=3, size=32, width=8))),
        (ImageInput(Preprocessing()), tiny_model(Conv4(width=8))),
        (VectorInput(9), tiny_model(Mlp(9))),
    ],
)
def test_the_kind_of_input_is_kept(tmp_path: Path, takes: ImageInput | VectorInput, model: MetaModel) -> None:
    like = read(write_tiny(tmp_path)).manifest
    folder = write(tmp_path, "other", model, takes=takes, training=like.training, findings=Findings(like.evaluation))
    manifest = read(folder).manifest
    assert (manifest.input, manifest.training, manifest.evaluation) == (takes, like.training, like.evaluation)


def test_a_calibration_is_kept(tmp_path: Path) -> None:
    calibration = Calibration("validation classes", 100, (Cell(5, 1, 3, 0.8), Cell(20, 1, 3, 1.2)))
    assert read(write_tiny(tmp_path, calibration=calibration)).manifest.calibration == calibration


def test_a_view_of_a_larger_tensor_is_written_as_it_looks(tmp_path: Path) -> None:
    model = tiny_model()
    turned = {name: value.mT.contiguous().mT if value.dim() > 1 else value for name, value in model.params.items()}
    stored = read(write_tiny(tmp_path, model=MetaModel(model.encoder, model.recipe, turned, model.statistics)))
    assert all(torch.equal(stored.model.params[name], value) for name, value in model.params.items())


def test_the_manifest_states_the_weights_as_they_lie_there(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    content = (folder / "weights.safetensors").read_bytes()
    stated = json.loads((folder / "manifest.json").read_text())["weights"]
    assert stated == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_equal_models_have_equal_weight_files(tmp_path: Path) -> None:
    first, second = write_tiny(tmp_path), write_tiny(tmp_path)
    assert (first / "weights.safetensors").read_bytes() == (second / "weights.safetensors").read_bytes()


def test_versions_count_from_one_and_past_nine(tmp_path: Path) -> None:
    assert next_version(tmp_path, "tiny") == 1
    (tmp_path / "tiny" / "9").mkdir(parents=True)
    (tmp_path / "other" / "40").mkdir(parents=True)
    assert next_version(tmp_path, "tiny") == 10
    assert [write_tiny(tmp_path).name for _ in range(2)] == ["10", "11"]


@pytest.mark.parametrize("name", ["", "Tiny", "a b", "../a", "a/b", "-a", "a" * 65, "a@1", "é", "tiny\n"])
def test_a_name_that_cannot_be_a_folder_or_an_address_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="expected a name of lower-case letters"):
        write_tiny(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def failing(after: int, error: BaseException) -> Callable[[int], None]:
    """An `os.fsync` that fails after so many calls, as a full disk or Ctrl-C would make it."""
    calls = iter([None] * after)

    def fsync(_: int) -> None:
        if next(calls, error) is not None:
            raise error

    return fsync


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException) -> None:
    write_tiny(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(after, error))
        with pytest.raises(type(error)):
            write_tiny(tmp_path)
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["1"]
    assert write_tiny(tmp_path).name == "2"


def test_a_version_that_appeared_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync
    taken = tmp_path / "tiny" / "1"

    def rival(descriptor: int) -> None:
        taken.mkdir(exist_ok=True)
        (taken / "manifest.json").write_text("the rival's")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", rival)
    with pytest.raises(OSError, match="not empty"):
        write_tiny(tmp_path)
    assert (taken / "manifest.json").read_text() == "the rival's"
    assert [path.name for path in taken.parent.iterdir()] == ["1"]


def test_everyone_may_read_what_was_written(tmp_path: Path) -> None:
    assert stat.S_IMODE(write_tiny(tmp_path).stat().st_mode) == 0o755
