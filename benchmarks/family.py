"""Every preset, trained for a few minutes from its configuration in configs/family and judged on the same unseen characters.

Usage: python -m benchmarks.family --data-root FOLDER [--only PRESET ...]
Vinyals' split, a strided conv4-64, one core. All judge the same episodes of the 423 test characters and their turns, every query alone;
one model for both cells. Adds to benchmarks/results/family.json after every run, and prints the rows of docs/results.md. A run that
was stopped is gone on from in runs/family.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.ablations import Silent, digest
from benchmarks.subject import RESULTS, SEED, USUAL, named, processor
from service.learner.episodes import ClassInputs
from service.training.checkpoint import FILENAME
from service.training.evaluate import evaluate, pool
from service.training.meta_train import Trained, meta_train
from service.training.options import TrainOptions, read_options
from service.training.sources.load import load_classes

CONFIGS, RUNS, TABLE = Path("configs/family"), Path("runs/family"), RESULTS / "family.json"
CELLS = USUAL[:2]


def judged(trained: Trained, test: ClassInputs, episodes: int) -> dict[str, list[float]]:
    """Give accuracy and its confidence interval in percent for each cell, at the default count of inner steps."""
    model = trained.model
    seen, steps = pool(model, test), model.recipe.steps_default
    found = {named(shape): evaluate(model, seen, shape, steps=steps, episodes=episodes, seed=SEED) for shape in CELLS}
    return {name: [round(100 * each.accuracy, 2), round(100 * each.ci95, 2)] for name, each in found.items()}


def row(options: TrainOptions, data_root: Path, episodes: int) -> dict[str, Any]:
    """Train, or go on, and judge."""
    data, run = load_classes(options, data_root=data_root), RUNS / options.name
    trained = meta_train(options, data, run, reporter=Silent(), resume=(run / FILENAME).exists())
    if trained is None:
        raise RuntimeError("the run ended before its validation")
    meta_steps = trained.steps - options.pretraining.steps
    return {
        "config_sha256": digest(options),
        "pretraining_steps": options.pretraining.steps,
        "meta_steps": meta_steps,
        "tasks": meta_steps * options.stages[0].episodes,
        "seconds": round(trained.seconds),
        "best_step": trained.best.step,
        "validation": round(100 * trained.best.score, 2),
        "episodes": episodes,
        "torch": str(torch.__version__),
        "processor": processor(),
        **judged(trained, data["test"].with_rotations(), episodes),
    }


def main(
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    episodes: int = 600,
    only: Annotated[list[str] | None, typer.Option(help="These presets; all of them when absent.")] = None,
) -> None:
    """Run the presets one after the other."""
    for path in sorted(CONFIGS.glob("*.toml")):
        options = read_options(path)
        if only and options.preset not in only:
            continue
        found = row(options, data_root, episodes)
        known = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
        TABLE.write_text(json.dumps({**known, options.preset: found}, indent=1) + "\n", encoding="utf-8")
        cells = " | ".join(f"{found[named(shape)][0]:.2f} ± {found[named(shape)][1]:.2f}" for shape in CELLS)
        typer.echo(f"| {options.preset} | {found['tasks']} | {found['seconds']} s | {cells} |")


if __name__ == "__main__":
    typer.run(main)
