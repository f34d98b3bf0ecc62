"""Sine waves from few points: squared error after each count of inner steps, beside the bars and the paper's plot.

Usage: python -m benchmarks.sinusoid [--tasks 2000] [--queries 100]
`sinusoid` is read from model_store, plain MAML from benchmarks/model_store. Writes benchmarks/results/sinusoid.json and
docs/images/sinusoid.png, and prints a Markdown table.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import typer
from matplotlib.figure import Figure

from benchmarks.subject import RESULTS, SEED
from service.learner.episodes import EpisodeShape
from service.learner.meta_model import MetaModel, adapt, answer
from service.registry.read import Stored, find
from service.training.regression import judge_regression
from service.training.sources.sinusoid import INPUTS, Sinusoids

STORES = {"sinusoid": Path("model_store"), "sinusoid-maml": Path("benchmarks/model_store")}
SHOTS, STEPS = (5, 10), (0, 1, 2, 5, 10)
PICTURE = Path("docs/images/sinusoid.png")


def rows(stored: Stored, *, tasks: int, queries: int) -> list[dict[str, Any]]:
    """Judge every shot after every count of steps, on the same tasks."""
    name = f"{stored.manifest.name}@{stored.manifest.version}"
    return [
        {"model": name, "preset": stored.manifest.training.preset, "shot": shot, "steps": steps, "tasks": tasks, "queries": queries}
        | asdict(
            judge_regression(stored.model, Sinusoids(), EpisodeShape(1, (shot, shot), queries), steps=steps, episodes=tasks, seed=SEED)
        )
        for shot in SHOTS
        for steps in STEPS
        if steps <= stored.manifest.recipe.steps_max
    ]


def drawn(models: dict[str, MetaModel]) -> Figure:
    """Draw the same wave as each meta-model sees it, from five points and after none, one and ten steps."""
    generator = torch.Generator().manual_seed(SEED + 7)  # a wave of middling height, its points apart
    episode = Sinusoids().episode(EpisodeShape(1, (5, 5), 200), generator)
    order = episode.queries[:, 0].argsort()
    inputs, truth = episode.queries[order], episode.query_labels[order]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for panel, (name, model) in zip(figure.subplots(1, len(models), sharey=True), models.items(), strict=True):
        panel.plot(inputs[:, 0], truth[:, 0], color="0.6", linewidth=3, label="truth")
        for steps, style in ((0, ":"), (1, "--"), (10, "-")):
            found = answer(model, adapt(model, episode.support, steps).params, inputs)
            panel.plot(inputs[:, 0], found[:, 0], style, label=f"{steps} step{'' if steps == 1 else 's'}")
        panel.plot(episode.support.inputs[:, 0], episode.support.labels[:, 0], "ko", label="the five points")
        panel.set(title=name, xlabel="x", xlim=INPUTS)
    figure.axes[0].legend(fontsize="small")
    return figure


def main(tasks: int = 2_000, queries: int = 100) -> None:
    """Judge, write, draw and print; about five minutes on one core."""
    torch.set_num_threads(1)
    found = {name: find(store, name) for name, store in STORES.items()}
    table = [row for stored in found.values() for row in rows(stored, tasks=tasks, queries=queries)]
    (RESULTS / "sinusoid.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    drawn({name: stored.model for name, stored in found.items()}).savefig(PICTURE, dpi=110)
    typer.echo("| model | preset | shot | inner steps | squared error | median |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for row in table:
        error = f"{row['mean']:.3f} ± {row['ci95']:.3f}"
        typer.echo(f"| {row['model']} | {row['preset']} | {row['shot']} | {row['steps']} | {error} | {row['median']:.3f} |")


if __name__ == "__main__":
    typer.run(main)
