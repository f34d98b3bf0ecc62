"""The whole state of a run, on disk: enough to continue it bit for bit."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from service.errors import BadCheckpointError
from service.learner.episodes import ClassInputs
from service.learner.parameters import Params
from service.training.options import TrainOptions
from service.training.tasks import Tasks

FILENAME = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Best:
    """The weights with the best validation so far; a larger score is better: the accuracy, or a regression's squared error negated."""

    score: float
    step: int
    params: Params
    statistics: Params


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run after `step` meta-steps. Episodes and augmentation are drawn from (seed, step), so no generator needs keeping.

    Attributes:
        params: the weights being trained.
        average: their exponential moving average, which is what is validated and shipped.
        optimiser: the optimiser's state.
        best: the best validated average, None before the first validation.
        stale: validations since then, for early stopping.
        seconds: time spent so far.
        starting_weights: sha256 of the file of pretrained weights that the run began with.
        data: what it is trained and validated on, see `data_digest`; None where it was not kept.
    """

    step: int
    params: Params
    average: Params
    optimiser: dict[str, Any]
    best: Best | None
    stale: int
    seconds: float
    starting_weights: str | None = None
    data: str | None = None


def save_checkpoint(run: Path, checkpoint: Checkpoint, options: TrainOptions) -> None:
    """Write the checkpoint of a run folder: whole or not at all."""
    run.mkdir(parents=True, exist_ok=True)
    temporary = run / f".{FILENAME}"
    state = {**asdict(checkpoint), "config": fingerprint(options), "torch": str(torch.__version__)}
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(run / FILENAME)


def load_checkpoint(run: Path, options: TrainOptions) -> Checkpoint:
    """Read the checkpoint of a run folder.

    Raises:
        BadCheckpointError: none there, damaged, of another configuration or of another torch.
    """
    path = run / FILENAME
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        config, made_with, best = state.pop("config"), state.pop("torch"), state.pop("best")
        checkpoint = Checkpoint(**state, best=None if best is None else Best(**best))
    except FileNotFoundError:
        raise BadCheckpointError(f"{path}: expected a checkpoint to resume from, found none; start without --resume") from None
    except Exception as error:
        raise BadCheckpointError(f"{path}: the checkpoint cannot be read ({error}); start without --resume") from error
    if config != fingerprint(options):
        raise BadCheckpointError(f"{path}: the configuration has changed since; restore it, or start without --resume")
    if made_with != str(torch.__version__):
        raise BadCheckpointError(
            f"{path}: made with torch {made_with}, this is {torch.__version__}; a run continues bit for bit only with the same"
        )
    return checkpoint


def fingerprint(options: TrainOptions) -> str:
    """Identify a configuration."""
    return hashlib.sha256(options.model_dump_json().encode()).hexdigest()


def data_digest(data: Mapping[str, Tasks]) -> str:
    """Identify what a run is trained on by its classes and how many inputs each has, part by part."""
    classes = {part: [tasks.names, tasks.first] for part, tasks in data.items() if isinstance(tasks, ClassInputs)}
    return hashlib.sha256(json.dumps(classes, sort_keys=True).encode()).hexdigest()
