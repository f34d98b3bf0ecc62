"""Tiny training runs: a few invented characters, an encoder of a few channels, a handful of meta-steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs, Episode
from service.learner.outer_rules import Outcome
from service.training.checkpoint import Checkpoint, load_checkpoint
from service.training.meta_train import Trained, Validated, meta_train
from service.training.options import TrainOptions
from service.training.sources.glyphs import glyphs
from service.training.sources.load import load_classes
from service.training.tasks import Tasks

SMALL = Preprocessing(size=16)

# Two stages: prototypes alone, then uneven shots through inner steps.
TABLE: Mapping[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "threads": 1,
    "data": {"source": "glyphs"},
    "preprocessing": {"size": 16},
    "encoder": {"kind": "conv4", "width": 4, "size": 16},
    "stages": [
        {"steps": 4, "way": [3, 6], "queries": 2, "episodes": 2},
        {"steps": 5, "way": [3, 4], "shot": [1, 3], "uneven": True, "queries": 2, "inner_steps": 2},
    ],
    "validation": {"every": 3, "episodes": 20, "way": 4, "queries": 2},
    "calibration": {"ways": [3, 6], "shots": [1, 2], "queries": 60},
    "final": {"ways": [3], "shots": [1], "queries": 2, "episodes": 8},
}

# What MAML and FOMAML need of the table above.
PER_CLASS: Mapping[str, Any] = {
    "encoder": {"kind": "conv4", "width": 4, "size": 16, "norm": "group", "groups": 2},
    "stages": [{"steps": 2, "way": [5, 5], "queries": 2, "inner_steps": 2}],
    "validation": {"every": 2, "episodes": 4, "way": 5, "queries": 2},
    "final": {"ways": [5], "shots": [1], "queries": 2, "episodes": 4},
}


# What the shipped configurations turn on, all of it.
SHIPPED_KIND: Mapping[str, Any] = {
    "encoder": {"kind": "residual", "size": 16, "widths": [4, 8], "projection": 8},
    "precision": "bfloat16",
    "recipe": {"views": 2},
    "data": {"source": "glyphs", "classes": 10, "drawings": 6, "oversample": 2, "reflections": True},
    "augmentation": {"bend": 0.05},
    "stages": [
        {"steps": 3, "way": [6, 6], "queries": 2, "turns": True, "group": 3, "grouped": 0.5},
        {"steps": 2, "way": [3, 4], "shot": [1, 3], "uneven": True, "queries": 2, "inner_steps": 2, "group": 3},
    ],
    "validation": {"every": 2, "episodes": 8, "way": 4, "queries": 2},
}


def tiny_options(**changes: Any) -> TrainOptions:
    return TrainOptions.model_validate({**TABLE, **changes})


@cache
def tiny_data() -> Mapping[str, ClassInputs]:
    return {part: glyphs(8, 6, SMALL, seed=seed) for seed, part in enumerate(("train", "validation", "test"))}


@cache
def loaded_data() -> Mapping[str, ClassInputs]:
    """What `SHIPPED_KIND` loads: turned, mirrored, twice as large."""
    options = tiny_options(**SHIPPED_KIND)
    return load_classes(options, data_root=None)


@dataclass(slots=True)
class Heard:
    """A reporter that remembers."""

    steps: list[int] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    judged: list[Any] = field(default_factory=list)
    validated_at: list[int] = field(default_factory=list)
    samples: list[Episode | None] = field(default_factory=list)

    def stepped(self, step: int, outcome: Outcome, learning_rate: float) -> None:
        self.steps.append(step)
        self.outcomes.append(outcome)
        self.rates.append(learning_rate)

    def validated(self, found: Validated) -> None:
        self.validated_at.append(found.step)
        self.judged.append(found.judged)
        self.samples.append(found.sample)


@dataclass(slots=True)
class After:
    """Stops a run once this many meta-steps have been taken."""

    steps: int
    asked: int = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self.steps


def train(
    options: TrainOptions,
    run: Path,
    *,
    steps: int | None = None,
    resume: bool = False,
    heard: Heard | None = None,
    data: Mapping[str, Tasks] | None = None,
) -> Trained | None:
    """Train, on the tiny data unless told otherwise, for so many more meta-steps or to the end."""
    stop = After(10**9 if steps is None else steps)
    return meta_train(options, data or tiny_data(), run, reporter=heard or Heard(), resume=resume, should_stop=stop)


def checkpoint_after(options: TrainOptions, run: Path, steps: int) -> Checkpoint:
    """Train for so many meta-steps and read the checkpoint that is left."""
    train(options, run, steps=steps)
    return load_checkpoint(run, options)


def assert_same(got: Any, expected: Any, place: str = "") -> None:
    """Equal to the last bit, through every table and list."""
    assert type(got) is type(expected), place
    if isinstance(expected, torch.Tensor):
        assert got.dtype == expected.dtype, place
        assert torch.equal(got, expected), place
    elif isinstance(expected, dict):
        assert got.keys() == expected.keys(), place
        for key in expected:
            assert_same(got[key], expected[key], f"{place}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected), place
        for index, (one, other) in enumerate(zip(got, expected, strict=True)):
            assert_same(one, other, f"{place}/{index}")
    else:
        assert got == expected, place
