"""Read meta-models from the store, verified: nothing is used whose checksum, names or shapes are not as stated."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from service.errors import BadManifestError, BadWeightsError, ModelNotFoundError
from service.learner.encoders.architectures import build
from service.learner.encoders.encoder import Encoder
from service.learner.meta_model import MetaModel, initial_params, require_fitting
from service.registry.manifest import Manifest

STATISTICS = "statistics."


@dataclass(frozen=True, slots=True)
class Stored:
    """A verified meta-model with its manifest."""

    manifest: Manifest
    model: MetaModel


def versions(store: Path) -> list[Path]:
    """List every `<name>/<version>` folder of the store, sorted by name and number."""
    found = [folder for folder in store.glob("*/*") if folder.name.isascii() and folder.name.isdigit() and folder.is_dir()]
    return sorted(found, key=lambda folder: (folder.parent.name, int(folder.name)))


def find(store: Path, reference: str) -> Stored:
    """Read the version called `name@version`, or the highest one of a name.

    Raises:
        ModelNotFoundError: the store has none; says what it holds.
    """
    found = [folder for folder in versions(store) if reference in (folder.parent.name, f"{folder.parent.name}@{folder.name}")]
    if not found:
        known = ", ".join(f"{folder.parent.name}@{folder.name}" for folder in versions(store)) or "none"
        raise ModelNotFoundError(f"{store}: no meta-model {reference!r}; it holds {known}")
    return read(found[-1])


def read(folder: Path) -> Stored:
    """Read one `<name>/<version>` folder.

    Raises:
        BadManifestError: manifest.json is missing, not valid, or belongs elsewhere.
        BadWeightsError: weights.safetensors is missing or is not what the manifest states.
    """
    manifest = read_manifest(folder)
    encoder = _encoder(folder, manifest)
    tensors = _tensors(folder, manifest)
    _check(folder, tensors, encoder, manifest)
    statistics = {name.removeprefix(STATISTICS): value for name, value in tensors.items() if name.startswith(STATISTICS)}
    params = {name: value for name, value in tensors.items() if not name.startswith(STATISTICS)}
    return Stored(manifest, MetaModel(encoder, manifest.recipe, params, statistics, spread=manifest.spread))


def read_manifest(folder: Path) -> Manifest:
    """Read and validate manifest.json, and check that it names its own folder."""
    path = folder / "manifest.json"
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadManifestError(f"{path}: expected a manifest, but it cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise BadManifestError(f"{path}: {place}: {first['msg']}; restore the file or train the model again") from error
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise BadManifestError(f"{path}: expected {folder.parent.name}@{folder.name}, got {manifest.name}@{manifest.version}")
    return manifest


def _encoder(folder: Path, manifest: Manifest) -> Encoder:
    options = dict(manifest.encoder)
    try:
        encoder = build(str(options.pop("kind", None)), options)
        require_fitting(encoder, manifest.recipe)
    except ValueError as error:
        raise BadManifestError(f"{folder / 'manifest.json'}: {error}") from error
    if manifest.recipe.views > 1 and manifest.input.kind != "image":
        raise BadManifestError(f"{folder / 'manifest.json'}: expected one view of an input that is no image, got {manifest.recipe.views}")
    if encoder.input_shape != manifest.input.shape:
        raise BadManifestError(
            f"{folder / 'manifest.json'}: expected an encoder of inputs {manifest.input.shape}, got one of {encoder.input_shape}"
        )
    return encoder


def _tensors(folder: Path, manifest: Manifest) -> dict[str, Tensor]:
    path = folder / "weights.safetensors"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadWeightsError(f"{path}: expected weights, but they cannot be read ({error.strerror})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.weights.sha256:
        raise BadWeightsError(f"{path}: expected sha256 {manifest.weights.sha256}, got {found}; restore the file or train the model again")
    try:
        return load(content)
    except SafetensorError as error:
        raise BadWeightsError(f"{path}: not a safetensors file ({error})") from error


def _check(folder: Path, tensors: dict[str, Tensor], encoder: Encoder, manifest: Manifest) -> None:
    """Refuse weights that lack a tensor, have one too many, or one of the wrong shape or type."""
    path = folder / "weights.safetensors"
    try:
        expected = expected_shapes(encoder, manifest)
    except RuntimeError as error:
        raise BadManifestError(f"{folder / 'manifest.json'}: expected an encoder that fits in memory ({error})") from error
    if set(tensors) != set(expected):
        raise BadWeightsError(f"{path}: expected other tensors; these are missing or too many: {sorted(set(tensors) ^ set(expected))}")
    for name, shape in expected.items():
        if tensors[name].shape != shape or tensors[name].dtype != torch.float32:
            raise BadWeightsError(
                f"{path}: {name}: expected float32 {tuple(shape)}, got {tensors[name].dtype} {tuple(tensors[name].shape)}"
            )


def expected_shapes(encoder: Encoder, manifest: Manifest) -> dict[str, torch.Size]:
    """Give the name and shape of every tensor that the weights must hold."""
    params = initial_params(encoder, manifest.recipe, torch.Generator().manual_seed(0))
    shapes = {name: value.shape for name, value in params.items()}
    if encoder.norm == "batch":
        layers = [name for name in shapes if name.endswith("norm.bias")]
        moments = [(layer.removesuffix("norm.bias"), shapes[layer]) for layer in layers]
        shapes |= {f"{STATISTICS}{block}{moment}": shape for block, shape in moments for moment in ("mean", "variance")}
    return shapes
