from pathlib import Path

import pytest
import torch

from service.errors import ModelNotFoundError, ModelRefusedError
from service.runtime.catalog import Catalog, load_catalog
from tests.registry.stored import edit_manifest
from tests.tiny import tiny_model, write_tiny

CPU = torch.device("cpu")


def catalog(store: Path, default: str = "tiny") -> Catalog:
    return load_catalog(store, device=CPU, default=default)


def damage(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def test_a_name_is_its_highest_version_and_a_reference_is_exact(tmp_path: Path) -> None:
    for seed in range(10):
        write_tiny(tmp_path, model=tiny_model(seed=seed))
    write_tiny(tmp_path, "tiny-two")
    found = catalog(tmp_path)
    assert found.find("tiny").reference == "tiny@10"
    assert found.find("tiny@9").reference == "tiny@9"
    assert found.find("tiny@1").manifest.weights != found.find("tiny@9").manifest.weights
    assert found.find("tiny-two").reference == "tiny-two@1"


@pytest.mark.parametrize("reference", ["other", "tiny@2", "tiny@01", "tiny@", "tin", "TINY", "", "tiny@1 ", "@1"])
def test_an_unknown_model_is_told_what_there_is(tmp_path: Path, reference: str) -> None:
    write_tiny(tmp_path)
    write_tiny(tmp_path, "second")
    with pytest.raises(ModelNotFoundError, match=r"this server has second@1, tiny@1$") as caught:
        catalog(tmp_path).find(reference)
    assert caught.value.field == "model"


def test_a_damaged_model_is_refused_with_its_reason_while_the_others_serve(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    damage(write_tiny(tmp_path, "damaged"))
    edit_manifest(write_tiny(tmp_path, "edited"), lambda table: table.update(more=1))
    (tmp_path / "empty" / "1").mkdir(parents=True)
    found = catalog(tmp_path)
    assert [each.reference for each in found.served] == ["tiny@1"]
    assert [(each.name, each.version) for each in found.refused] == [("damaged", 1), ("edited", 1), ("empty", 1)]
    for name, reason in (("damaged", "expected sha256"), ("edited", "more: Extra inputs"), ("empty", "cannot be read")):
        for reference in (name, f"{name}@1"):
            with pytest.raises(ModelRefusedError, match=f"{name}@1 is not served: .*{reason}"):
                found.find(reference)


def test_a_name_passes_over_a_damaged_newer_version(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    damage(write_tiny(tmp_path))
    found = catalog(tmp_path)
    assert found.find("tiny").reference == "tiny@1"
    with pytest.raises(ModelRefusedError):
        found.find("tiny@2")


def test_the_named_default_answers_for_no_name(tmp_path: Path) -> None:
    for name in ("first", "second", "second"):
        write_tiny(tmp_path, name)
    found = catalog(tmp_path, default="second")
    assert found.default == "second"
    assert found.find(None).reference == "second@2"


def test_the_only_model_is_the_default_when_the_named_one_is_not_there(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    assert catalog(tmp_path, default="omniglot").find(None).reference == "tiny@1"


def test_a_damaged_default_is_not_replaced_by_another_model(tmp_path: Path) -> None:
    (write_tiny(tmp_path, "omniglot") / "weights.safetensors").unlink()
    write_tiny(tmp_path, "other")
    found = catalog(tmp_path, default="omniglot")
    with pytest.raises(ModelRefusedError):
        found.find(None)
    assert not found.is_default(found.find("other"))


def test_without_a_default_a_name_is_asked_for(tmp_path: Path) -> None:
    write_tiny(tmp_path, "first")
    write_tiny(tmp_path, "second")
    found = catalog(tmp_path, default="omniglot")
    assert found.default is None
    with pytest.raises(ModelNotFoundError, match="this server has no default"):
        found.find(None)


def test_an_empty_store_serves_nothing_and_says_so(tmp_path: Path) -> None:
    found = catalog(tmp_path / "missing")
    assert (list(found.served), list(found.refused), found.default) == ([], [], None)
    with pytest.raises(ModelNotFoundError, match="this server has none"):
        found.find("tiny")


def test_models_lie_on_the_device_they_are_asked_onto(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    served = load_catalog(tmp_path, device=torch.device("meta"), default="tiny").find(None)
    assert {value.device.type for value in {**served.model.params, **served.model.statistics}.values()} == {"meta"}
