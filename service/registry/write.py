"""Write a meta-model to the store: whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from safetensors.torch import save

from service.errors import RegistryError
from service.inputs.specification import InputSpecification
from service.learner.calibration import Calibration
from service.learner.encoders.architectures import describe
from service.learner.meta_model import MetaModel
from service.registry.card import card
from service.registry.manifest import NAME, ErrorRow, EvaluationRow, Manifest, Training, Weights
from service.registry.read import STATISTICS, versions


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found out about a meta-model: how good it is, and how its scores are calibrated; a regression has errors instead."""

    evaluation: Sequence[EvaluationRow] = ()
    calibration: Calibration | None = None
    errors: Sequence[ErrorRow] = ()


def write(store: Path, name: str, model: MetaModel, *, takes: InputSpecification, training: Training, findings: Findings) -> Path:
    """Write the next version of a meta-model and give its folder: manifest.json, weights.safetensors, CARD.md.

    The folder appears by one rename, after everything in it has reached the disk.

    Raises:
        RegistryError: a name that cannot be a folder or a URL.
    """
    if not NAME.fullmatch(name):
        raise RegistryError(f"expected a name of lower-case letters, digits and dashes, got {name!r}")
    tensors = {**model.params, **{f"{STATISTICS}{key}": value for key, value in model.statistics.items()}}
    weights = save({key: value.detach().cpu().contiguous() for key, value in sorted(tensors.items())})
    manifest = Manifest(
        name=name,
        version=next_version(store, name),
        created_at=datetime.now(UTC).replace(microsecond=0),
        encoder=describe(model.encoder),
        recipe=model.recipe,
        input=takes,
        spread=model.spread,
        training=training,
        evaluation=tuple(findings.evaluation),
        errors=tuple(findings.errors),
        calibration=findings.calibration,
        weights=Weights(sha256=hashlib.sha256(weights).hexdigest(), bytes=len(weights)),
    )
    files = {
        "weights.safetensors": weights,
        "manifest.json": (manifest.model_dump_json(indent=2) + "\n").encode(),
        "CARD.md": card(manifest).encode(),
    }
    return _appear(store / name / str(manifest.version), files)


def next_version(store: Path, name: str) -> int:
    """Give the number after the highest version of a name."""
    return max((int(folder.name) for folder in versions(store) if folder.parent.name == name), default=0) + 1


def _appear(folder: Path, files: dict[str, bytes]) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        for filename, content in files.items():
            with (temporary / filename).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder
