"""What moving the body does for a meta-model whose inner loop moves all of it: accuracy as it is and with the body held still.

Usage: python -m benchmarks.moving_body omniglot-maml --data-root FOLDER [--episodes 2000]
Writes benchmarks/results/moving-body-<name>-<version>.json and prints a Markdown table.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.subject import RESULTS, SEED
from service.learner.episodes import ClassInputs, EpisodeShape, Support
from service.learner.meta_model import MetaModel, adapt
from service.learner.parameters import squared_distance, under
from service.registry.read import find
from service.training.evaluate import evaluate, pool
from service.training.sources.omniglot import omniglot

CELLS = ((5, 1), (5, 5), (20, 1))
MEASURED = 100  # tasks whose moved bodies are compared with the start


def held_still(model: MetaModel) -> MetaModel:
    """Give the same meta-model with an inner loop that moves the head alone, by the step sizes it has for it."""
    return replace(model, recipe=replace(model.recipe, scope="head"))


def moved_share(model: MetaModel, classes: ClassInputs, shape: EpisodeShape) -> float:
    """Give ‖body − start‖ / ‖start‖ after the default steps, the mean over tasks."""
    prepared, generator = pool(model, classes), torch.Generator().manual_seed(SEED)
    body = under(model.params, model.encoder.blocks)
    norm = squared_distance(body, {name: torch.zeros_like(value) for name, value in body.items()}).sqrt()
    shares = []
    for _ in range(MEASURED):
        support: Support = prepared.episode(shape, generator).support
        moved = adapt(model, support, model.recipe.steps_default).params
        shares.append(squared_distance({name: moved[name] for name in body}, body).sqrt() / norm)
    return torch.stack(shares).mean().item()


def row(model: MetaModel, classes: ClassInputs, *, label: str, way: int, shot: int, episodes: int) -> dict[str, Any]:
    """Judge one cell both ways, on the same episodes."""
    shape, steps = EpisodeShape(way, (shot, shot), 5), model.recipe.steps_default
    whole, still = (
        evaluate(each, pool(each, classes), shape, steps=steps, episodes=episodes, seed=SEED) for each in (model, held_still(model))
    )
    return {
        "data": label,
        "way": way,
        "shot": shot,
        "steps": steps,
        "episodes": episodes,
        "accuracy": whole.accuracy,
        "ci95": whole.ci95,
        "loss": whole.loss,
        "body_still": still.accuracy,
        "body_still_ci95": still.ci95,
        "body_still_loss": still.loss,
        "moved": moved_share(model, classes, shape),
    }


def main(
    model: str,
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    model_store: Path = Path("model_store"),
    episodes: int = 2_000,
) -> None:
    """Judge, write and print; about ten minutes on one core."""
    torch.set_num_threads(1)
    stored = find(model_store, model)
    takes = stored.manifest.input
    if takes.kind != "image":
        raise typer.BadParameter(f"expected a meta-model of pictures, got one of {takes.kind} inputs")
    test = omniglot(data_root, takes.preprocessing, split="vinyals")["test"]
    table = [
        row(stored.model, classes, label=label, way=way, shot=shot, episodes=episodes)
        for label, classes in (("423 characters x 4 turns", test.with_rotations()), ("423 characters upright", test))
        for way, shot in CELLS
    ]
    name = f"moving-body-{stored.manifest.name}-{stored.manifest.version}.json"
    (RESULTS / name).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    typer.echo("| data | way | shot | accuracy | body still | loss | loss, body still | moved |")
    typer.echo("| --- | ---: | ---: | --- | --- | ---: | ---: | ---: |")
    for each in table:
        accuracies = " | ".join(
            f"{100 * each[name]:.2f} ± {100 * each[ci]:.2f}" for name, ci in (("accuracy", "ci95"), ("body_still", "body_still_ci95"))
        )
        losses = f"{each['loss']:.4f} | {each['body_still_loss']:.4f}"
        typer.echo(f"| {each['data']} | {each['way']} | {each['shot']} | {accuracies} | {losses} | {100 * each['moved']:.2f} % |")


if __name__ == "__main__":
    typer.run(main)
