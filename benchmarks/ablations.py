"""What each lever gives: short trainings of one configuration, each with one thing changed, judged on validation classes only.

Usage: python -m benchmarks.ablations configs/omniglot-vinyals.toml --data-root FOLDER [--steps 600] [--only NAME ...]
Adds to benchmarks/results/ablations.json after every run, and prints the rows of docs/results.md.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.subject import RESULTS, SEED, USUAL, WITHIN, named
from service.learner.episodes import ClassInputs
from service.learner.outer_rules import Outcome
from service.training.evaluate import evaluate, pool
from service.training.meta_train import Validated, meta_train
from service.training.options import TrainOptions, read_options
from service.training.sources.load import load_classes

TABLE = RESULTS / "ablations.json"

CONV4 = {"kind": "conv4", "size": 32, "width": 64, "downsample": "stride"}

# Each changes the shipped configuration: an encoder or a precision replaces the one there, other tables are merged; `stage` is the first.
LEVERS: Mapping[str, Mapping[str, Any]] = {
    "as shipped, but short": {},
    "conv4-64, strided": {"encoder": CONV4},
    "conv4-64, strided, projected to 256": {"encoder": {**CONV4, "projection": 256}},
    "no turns": {"stage": {"turns": False}},
    "no groups": {"stage": {"grouped": 0.0}},
    "groups in half of the episodes": {"stage": {"grouped": 0.5}},
    "120-way, 2 drawings a class": {"stage": {"way": [120, 120], "queries": 1}},
    "20-way, 12 drawings a class": {"stage": {"way": [20, 20], "queries": 11}},
    "no reflections": {"data": {"reflections": False}},
    "no rotations": {"data": {"rotations": False, "reflections": False}},
    "no oversampling": {"data": {"oversample": 1}},
    "no weight average": {"optimiser": {"ema": 0.0}},
    "no augmentation": {"augmentation": dict.fromkeys(("turn", "scale", "stretch", "slant", "shift", "stroke", "bend"), 0.0)},
    "no stroke augmentation": {"augmentation": {"stroke": 0.0}},
    "no bending": {"augmentation": {"bend": 0.0}},
    "float32": {"precision": "float32"},
}


class Silent:
    """A reporter that says nothing."""

    def stepped(self, step: int, outcome: Outcome, learning_rate: float) -> None: ...

    def validated(self, found: Validated) -> None: ...


def shortened(options: TrainOptions, lever: Mapping[str, Any], steps: int) -> TrainOptions:
    """Give the configuration with only its first stage, so many steps of it, and the lever's changes."""
    table = options.model_dump()
    first = {**table["stages"][0], "steps": steps, **lever.get("stage", {})}
    replaced = {key: value for key, value in lever.items() if key in ("encoder", "precision")}
    merged = {key: {**table[key], **value} for key, value in lever.items() if key not in ("stage", *replaced)}
    return TrainOptions.model_validate(
        {**table, **replaced, **merged, "stages": [first], "validation": {**table["validation"], "every": steps}}
    )


def digest(options: TrainOptions) -> str:
    """Say which configuration gave a row: rows belong side by side only when they differ by their lever alone."""
    return hashlib.sha256(options.model_dump_json().encode()).hexdigest()


def run(options: TrainOptions, data: Mapping[str, ClassInputs], episodes: int) -> dict[str, Any]:
    """Train and judge on the validation classes: upright and turned, and within one alphabet."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained = meta_train(options, data, Path(folder), reporter=Silent())
    if trained is None:
        raise RuntimeError("the run ended before its validation")
    spent, model, steps = time.process_time() - started, trained.model, trained.model.recipe.steps_default
    seen = pool(model, data["validation"].with_rotations())
    row = {named(shape): evaluate(model, seen, shape, steps=steps, episodes=episodes, seed=SEED) for shape in USUAL}
    upright = pool(model, data["validation"]).within(WITHIN.way)
    row["within"] = evaluate(model, upright, WITHIN, steps=steps, episodes=episodes, seed=SEED)
    weights = sum(value.numel() for value in model.params.values())
    return {
        "cpu_seconds": round(spent),
        "parameters": weights,
        **{name: [round(100 * judged.accuracy, 2), round(100 * judged.ci95, 2)] for name, judged in row.items()},
    }


def main(
    config: Path,
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    steps: int = 600,
    episodes: int = 2_000,
    only: Annotated[list[str] | None, typer.Option(help="Run these levers; all of them when absent.")] = None,
) -> None:
    """Run the levers one after the other."""
    options = read_options(config)
    for name, lever in LEVERS.items():
        if only and name not in only:
            continue
        changed = shortened(options, lever, steps)
        data = load_classes(changed, data_root=data_root)
        row = {"config_sha256": digest(changed), "steps": steps, "threads": changed.threads, **run(changed, data, episodes)}
        known = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
        TABLE.write_text(json.dumps({**known, name: row}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        typer.echo(
            f"| {name} | {row['cpu_seconds']} s | " + " | ".join(f"{row[cell][0]:.2f}" for cell in (*map(named, USUAL), "within")) + " |"
        )


if __name__ == "__main__":
    typer.run(main)
