"""manifest.json: everything about a meta-model but its numbers. The format is specified in model_store/README.md."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.inputs.specification import ImageInput, VectorInput
from service.learner.calibration import Calibration
from service.learner.recipe import Recipe, Scope

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Entry(BaseModel):
    """A frozen part of the manifest that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EvaluationRow(Entry):
    """Accuracy over episodes of unseen classes, every query judged alone; calibration error of the top label."""

    data: str
    way: int
    shot: int
    scope: Scope
    steps: int
    accuracy: float
    ci95: float
    calibration_error: float | None = None
    episodes: int
    queries_per_class: int


class ErrorRow(Entry):
    """Squared error over tasks of a regression it has not seen: its mean and median over them; every query answered alone."""

    data: str
    shot: int
    scope: Scope
    steps: int
    squared_error: float
    ci95: float
    median: float
    episodes: int
    queries: int


class Training(Entry):
    """Where the weights came from: enough to train them again."""

    preset: str
    paper: str
    config: dict[str, Any]
    classes: dict[str, int]
    train_classes: tuple[str, ...] = ()
    validation_classes: tuple[str, ...]
    test_classes: tuple[str, ...] = ()
    starting_weights: Sha256 | None = None
    pretraining_steps: int = 0
    meta_steps: int
    best_step: int
    seconds: float
    torch: str
    threads: int


class Weights(Entry):
    """What weights.safetensors must be."""

    sha256: Sha256
    bytes: int


class Manifest(Entry):
    """One meta-model version."""

    format: Literal[1] = 1
    name: Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
    version: Annotated[int, Field(ge=1)]
    created_at: datetime
    encoder: dict[str, Any]
    recipe: Recipe
    input: Annotated[ImageInput | VectorInput, Field(discriminator="kind")]
    spread: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    training: Training
    evaluation: tuple[EvaluationRow, ...] = ()
    errors: tuple[ErrorRow, ...] = ()
    calibration: Calibration | None = None
    weights: Weights

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes with an evaluation row: the only ones that a caller may ask for."""
        return tuple(dict.fromkeys([*(row.scope for row in self.evaluation), *(row.scope for row in self.errors)]))

    def temperature(self, shots: Sequence[int], steps: int) -> float:
        """Give what logits are divided by before they become scores (see `Calibration.temperature`); 1 without a calibration."""
        return 1.0 if self.calibration is None else self.calibration.temperature(shots, steps)
