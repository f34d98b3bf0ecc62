import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from service.errors import BadManifestError, BadWeightsError
from service.learner.encoders.mlp import Mlp
from service.registry.read import read, versions
from tests.registry.stored import edit_manifest, edit_weights
from tests.tiny import tiny_model, write_tiny

Tensors = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("store"))


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_changed_byte_anywhere_in_the_weights_is_refused(shared: Path, where: float, change: int) -> None:
    path = shared / "weights.safetensors"
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[int(where * len(whole))] ^= change
    path.write_bytes(changed)
    try:
        with pytest.raises(BadWeightsError, match=r"expected sha256 [0-9a-f]{64}, got"):
            read(shared)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("keep", [0, 7, 8, 1000, -1])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadWeightsError, match="expected sha256"):
        read(folder)


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(BadWeightsError, match=r"weights\.safetensors: expected weights, but they cannot be read \(No such file"):
        read(folder)


def test_a_folder_in_place_of_the_weights_is_refused(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").mkdir()
    with pytest.raises(BadWeightsError, match="cannot be read"):
        read(folder)


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 100])
def test_weights_in_another_format_are_refused_though_the_checksum_is_theirs(folder: Path, content: bytes) -> None:
    edit_weights(folder, lambda tensors: tensors)
    (folder / "weights.safetensors").write_bytes(content)
    stated = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(folder, lambda table: table.update(weights=stated))
    with pytest.raises(BadWeightsError, match="not a safetensors file"):
        read(folder)


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def replaced(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: change(tensors[name])}


BIAS = "encoder.block2.conv.bias"
WRONG_TENSORS: Mapping[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "one missing": (without(BIAS), rf"missing or too many: \['{BIAS}'\]"),
    "a statistic missing": (without("statistics.encoder.block1.mean"), "statistics.encoder.block1.mean"),
    "a step size missing": (without("rate.head.bias"), "rate.head.bias"),
    "one too many": (lambda tensors: {**tensors, "encoder.block9": torch.ones(1)}, r"missing or too many: \['encoder.block9'\]"),
    "another shape": (replaced(BIAS, lambda value: value[:-1].clone()), rf"{BIAS}: expected float32 \(16,\), got torch.float32 \(15,\)"),
    "another rank": (replaced(BIAS, lambda value: value[None].clone()), rf"{BIAS}: expected float32 \(16,\)"),
    "half precision": (replaced(BIAS, Tensor.half), rf"{BIAS}: expected float32 \(16,\), got torch.float16"),
    "double precision": (replaced(BIAS, Tensor.double), rf"{BIAS}: expected float32 \(16,\), got torch.float64"),
}


@pytest.mark.parametrize(("edit", "words"), WRONG_TENSORS.values(), ids=WRONG_TENSORS.keys())
def test_weights_of_another_model_are_refused_though_the_checksum_is_theirs(
    folder: Path, edit: Callable[[Tensors], Tensors], words: str
) -> None:
    edit_weights(folder, edit)
    with pytest.raises(BadWeightsError, match=words):
        read(folder)


def test_a_missing_manifest_is_refused(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(BadManifestError, match=r"manifest\.json: expected a manifest, but it cannot be read \(No such file"):
        read(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
def test_a_manifest_that_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BadManifestError, match="restore the file or train the model again"):
        read(folder)


def put(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """An edit that sets one value, however deep."""

    def edit(table: dict[str, Any]) -> None:
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value

    return edit


WRONG_MANIFESTS = {
    "an unknown field": (put("more", value=1), "more: Extra inputs"),
    "an unknown field of the recipe": (put("recipe", "more", value=1), "recipe.more: "),
    "an unknown field of the input": (put("input", "preprocessing", "more", value=1), "preprocessing.more: "),
    "an unknown field of the weights": (put("weights", "more", value=1), "weights.more: "),
    "another format": (put("format", value=2), "format: Input should be 1"),
    "another name": (put("name", value="other"), "expected tiny@1, got other@1"),
    "another version": (put("version", value=2), "expected tiny@1, got tiny@2"),
    "version zero": (put("version", value=0), "version: "),
    "a name for a path": (put("name", value="../tiny"), "name: "),
    "no checksum": (put("weights", "sha256", value="abc"), "weights.sha256: "),
    "an unknown encoder": (put("encoder", "kind", value="vit"), "expected an encoder kind among .*, got 'vit'"),
    "an unknown option": (put("encoder", "depth", value=4), "has no option depth"),
    "an impossible width": (put("encoder", "width", value=-1), "width"),
    "a width in words": (put("encoder", "width", value="16"), "width"),
    "an enormous width": (put("encoder", "width", value=10**12), "fits in memory"),
    "an impossible recipe": (put("recipe", "steps_default", value=11), "steps_default <= steps_max"),
    "an unknown scope": (put("recipe", "scope", value="tail"), "recipe.scope: "),
    "an unknown kind of input": (put("input", "kind", value="sound"), "input: "),
    "an input of another kind": (put("input", value={"kind": "vector", "length": 4}), r"inputs \(4,\), got one of \(1, 28, 28\)"),
    "an input of another size": (put("input", "preprocessing", "size", value=32), r"inputs \(1, 32, 32\), got one of \(1, 28, 28\)"),
    "an input of other channels": (put("input", "preprocessing", "channels", value=3), r"inputs \(3, 28, 28\)"),
    "a calibration without cells": (put("calibration", value={"data": "", "queries": 1, "cells": []}), "at least one cell"),
    "a temperature of nothing": (
        put("calibration", value={"data": "", "queries": 1, "cells": [{"way": 5, "shot": 1, "steps": 0, "temperature": 0}]}),
        r"a temperature of 0\.1 to 20\.0, got 0",
    ),
    "a cell of one way": (
        put("calibration", value={"data": "", "queries": 1, "cells": [{"way": 1, "shot": 1, "steps": 0, "temperature": 1}]}),
        "way >= 2",
    ),
    "an unknown field of a cell": (
        put("calibration", value={"data": "", "queries": 1, "cells": [{"way": 5, "shot": 1, "steps": 0, "temperature": 1, "bias": 0}]}),
        "calibration.cells.0.bias: ",
    ),
    "a negative margin": (put("input", "preprocessing", "margin", value=-2), "a margin of 0 to 10"),
}


@pytest.mark.parametrize(("edit", "words"), WRONG_MANIFESTS.values(), ids=WRONG_MANIFESTS.keys())
def test_a_manifest_that_does_not_hold_together_is_refused(folder: Path, edit: Callable[[dict[str, Any]], None], words: str) -> None:
    edit_manifest(folder, edit)
    with pytest.raises(BadManifestError, match=words):
        read(folder)


def test_a_model_under_another_folder_is_refused(folder: Path) -> None:
    with pytest.raises(BadManifestError, match="expected tiny@2, got tiny@1"):
        read(folder.rename(folder.parent / "2"))


def test_versions_are_sorted_by_number(tmp_path: Path) -> None:
    for name in ("b/10", "b/9", "b/1", "a/2", "a/100"):
        (tmp_path / name).mkdir(parents=True)
    assert [path.relative_to(tmp_path).as_posix() for path in versions(tmp_path)] == ["a/2", "a/100", "b/1", "b/9", "b/10"]


def test_only_folders_named_by_a_plain_number_are_versions(tmp_path: Path) -> None:
    for name in ("a/1", "a/.writing-2", "a/latest", "a/²", "a/٣", "a/-1", "a/1.5", ".git/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "README.md").touch()
    (tmp_path / "a" / "7").touch()
    assert versions(tmp_path) == [tmp_path / "a" / "1"]


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert versions(tmp_path / "no") == []


def test_views_of_vectors_are_refused(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, model=tiny_model(Mlp(inputs=3)))
    edit_manifest(folder, lambda table: table["recipe"].update(views=3))
    with pytest.raises(BadManifestError, match="expected one view of an input that is no image, got 3"):
        read(folder)


def test_a_manifest_written_before_there_were_calibrations_leaves_scores_as_they_are(folder: Path) -> None:
    edit_manifest(folder, lambda table: table.pop("calibration"))
    manifest = read(folder).manifest
    assert manifest.calibration is None
    assert manifest.temperature([1, 1], 3) == 1


def test_a_manifest_written_before_there_were_views_has_one(folder: Path) -> None:
    edit_manifest(folder, lambda table: table["recipe"].pop("views"))
    assert read(folder).model.recipe.views == 1
