"""Adaptation in process, side by side: this engine, plain PyTorch loops and the meta-learning libraries, with the same weights.

Usage: benchmarks/.venv/bin/python -m benchmarks.adaptation omniglot --model-store benchmarks/model_store --data-root FOLDER
The environment is made as benchmarks/peers/requirements.txt says; without it the libraries are reported as absent.
Everybody's adapted weights are compared with the reference before the clock starts; then all take turns in one process.
Writes benchmarks/results/adaptation-<name>-<version>-<device>.json and prints Markdown tables.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.accuracy import unseen_classes
from benchmarks.agreement import Reference, demand_all, faded
from benchmarks.contenders import OURS, Contender, head_contenders, ours, whole_contenders
from benchmarks.encoder_rate import CHUNKS, encoder_rate
from benchmarks.encoder_rate import lines as encoder_lines
from benchmarks.peers.libraries import Library, installed
from benchmarks.stopwatch import Clock, Entrant, medians
from benchmarks.subject import SEED, Subject, find_subject, machine, named
from service.learner.encoders.conv4 import Conv4
from service.learner.episodes import ClassInputs, Episode, EpisodeShape, sample_episode
from service.learner.meta_model import MetaModel, as_served, initial_params
from service.learner.presets import PRESETS
from service.runtime.device import claim_device

CELLS = tuple(EpisodeShape(way, (shot, shot), 3) for way, shot in ((5, 1), (5, 5), (20, 5), (100, 5)))
WAITING = (1, 8, 64)
# A peer takes one task after the other whatever waits, so a few tell as much about it as all.
PEER_TASKS = 16
CHECKED = 2

# One thing grows at a time: (way, shot, steps); None is the recipe's default.
GROWTH: dict[str, tuple[tuple[int, int, int | None], ...]] = {
    "way": tuple((way, 1, None) for way in (2, 5, 10, 20, 50, 100, 200)),
    "shot": tuple((5, shot, None) for shot in (1, 2, 5, 10, 15)),
    "steps": tuple((5, 5, steps) for steps in (0, 1, 2, 5, 10, 20, 50)),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """What the measurements of one run share."""

    classes: ClassInputs
    libraries: Sequence[Library]
    clock: Clock

    def episodes(self, shape: EpisodeShape, count: int) -> list[Episode]:
        """Draw the same tasks in every run."""
        generator = torch.Generator().manual_seed(SEED)
        return [sample_episode(self.classes, shape, generator) for _ in range(count)]

    def heads(self, model: MetaModel, shapes: Sequence[EpisodeShape], waiting: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Race head adaptation in every cell."""
        steps = model.recipe.steps_default
        contenders = head_contenders(model, self.libraries, self.clock.device, steps)
        for shape in shapes:
            yield from self._cells(model, shape, contenders, waiting)

    def whole(self, channels: int, size: int, shapes: Sequence[EpisodeShape], waiting: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Race full MAML, from random weights, in every cell: a per_class head serves its own way only."""
        for shape in shapes:
            model = fresh_maml(shape.way, channels, size)
            contenders = whole_contenders(model, self.libraries, self.clock.device, model.recipe.steps_default)
            yield from self._cells(model, shape, contenders, waiting)

    def growth(self, model: MetaModel) -> Iterator[dict[str, Any]]:
        """Measure one task of ours as way, shot and steps grow."""
        for grows, cases in GROWTH.items():
            for way, shot, steps in cases:
                taken = model.recipe.steps_default if steps is None else steps
                episodes = self.episodes(EpisodeShape(way, (shot, shot), 1), PEER_TASKS)
                entrant = _entrant(ours(model, self.clock.device, taken), episodes, waiting=1)
                spent = self.clock.race([entrant])
                yield {"grows": grows, "way": way, "shot": shot, "steps": taken, "ms": round(medians(spent)[OURS], 4)}

    def _cells(
        self, model: MetaModel, shape: EpisodeShape, contenders: Sequence[Contender], waiting: Sequence[int]
    ) -> Iterator[dict[str, Any]]:
        steps, episodes = model.recipe.steps_default, self.episodes(shape, max(waiting))
        alike = [faded(episode) for episode in episodes]
        plain = [Reference.of(model, episode, steps) for episode in episodes[:CHECKED]]
        telling = [Reference.telling(model, episode, steps) for episode in alike[:CHECKED]]
        for count in waiting:
            gaps = {
                each.name: max(agreement(each, episodes[:count], plain[:count]), agreement(each, alike[:count], telling[:count]))
                for each in contenders
            }
            spent = self.clock.race([_entrant(each, episodes, waiting=count) for each in contenders])
            yield from _rows(named(shape), count, spent, gaps)


def fresh_maml(way: int, channels: int, size: int) -> MetaModel:
    """Give the strided network of Finn et al. (2017) with group norm and random weights, which serve any way.

    Its steps are a twentieth of the paper's, which make so much of a rounding in random weights that no two contenders agree at 100 ways.
    """
    encoder, recipe = Conv4(channels=channels, size=size, norm="group"), replace(PRESETS["maml"].recipe, way=way, step_size=0.02)
    return MetaModel(encoder, recipe, initial_params(encoder, recipe, torch.Generator().manual_seed(SEED)), {})


def agreement(contender: Contender, episodes: Sequence[Episode], references: Sequence[Reference]) -> float:
    """Give how far a contender's weights are from the reference; what adapts together adapts all that wait, and the first are compared."""
    taken = episodes if contender.together else episodes[: len(references)]
    adapted = contender.adapt([contender.prepare(episode.support) for episode in taken])
    return demand_all(contender.name, adapted[: len(references)], references)


def _entrant(contender: Contender, episodes: Sequence[Episode], *, waiting: int) -> Entrant:
    """Put a contender before its tasks: all that wait in one call, or one after the other."""
    size = waiting if contender.together else 1
    used = episodes if contender.together else episodes[:PEER_TASKS]
    supports = [contender.prepare(episode.support) for episode in used]
    groups = [supports[first : first + size] for first in range(0, len(supports) - size + 1, size)]
    return Entrant(contender.name, [partial(contender.adapt, group) for group in groups], units=size)


def _rows(cell: str, waiting: int, spent: dict[str, list[float]], gaps: dict[str, float]) -> Iterator[dict[str, Any]]:
    middle = medians(spent)
    for name, rounds in spent.items():
        yield {
            "cell": cell,
            "waiting": waiting,
            "contender": name,
            "ms": round(middle[name], 4),
            "over_ours": round(middle[name] / middle[OURS], 3),
            "gap_to_reference": float(f"{gaps[name]:.1e}"),
            "rounds_ms": [round(value, 4) for value in rounds],
        }


def measure(bench: Bench, subject: Subject, shapes: Sequence[EpisodeShape], waiting: Sequence[int]) -> dict[str, Any]:
    """Measure everything."""
    model, (channels, size, _) = subject.stored.model, subject.stored.model.encoder.input_shape
    pictures = bench.classes.inputs[: max(CHUNKS)].to(bench.clock.device)
    return {
        "steps": {"head": model.recipe.steps_default, "whole": PRESETS["maml"].recipe.steps_default},
        "views": model.recipe.views,
        "head": list(bench.heads(model, shapes, waiting)),
        # Models that move the body wait for one another on a CPU.
        "whole": list(bench.whole(channels, size, shapes, waiting if bench.clock.device.type == "cuda" else waiting[:1])),
        "growth": list(bench.growth(model)),
        "encoder": encoder_rate(as_served(model, bench.clock.device), pictures, bench.clock),
    }


def main(  # noqa: PLR0913 - a command has as many options as it has
    model: str,
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    model_store: Path = Path("model_store"),
    device: str = "cpu",
    threads: int = 1,
    rounds: int = 9,
    seconds: Annotated[float, typer.Option(help="For each contender in each cell.")] = 1.5,
    patience: Annotated[float, typer.Option(help="For all contenders of a cell; three rounds are taken whatever they cost.")] = 60.0,
    cell: Annotated[list[str] | None, typer.Option(help="Only these cells, 5w1s say.")] = None,
    waiting: Annotated[list[int] | None, typer.Option(help="Only these numbers of waiting tasks.")] = None,
) -> None:
    """Compare, then measure; some minutes for a small encoder."""
    subject, (libraries, absent) = find_subject(model_store, model), installed()
    clock = Clock(claim_device(device, threads=threads), rounds, seconds, patience)
    bench = Bench(unseen_classes(subject, data_root)["upright"], libraries, clock)
    shapes = [shape for shape in CELLS if not cell or named(shape) in cell]
    result = {
        **subject.provenance,
        **machine(clock),
        "peers": {each.name: each.version for each in libraries},
        "absent_peers": absent,
        **measure(bench, subject, shapes, sorted(waiting or WAITING)),
    }
    subject.results("adaptation", clock.device).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    typer.echo("\n".join(_printed(result)))


def _printed(result: dict[str, Any]) -> Iterator[str]:
    """Lay the figures out as Markdown tables."""
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    yield f"{result['model']} on {result['device_name']} ({result['device']}), {threads}, torch {result['torch']}"
    yield from (f"{name} is absent: {reason}" for name, reason in result["absent_peers"].items())
    for scope in ("head", "whole"):
        for waiting in dict.fromkeys(row["waiting"] for row in result[scope]):
            rows = [row for row in result[scope] if row["waiting"] == waiting]
            yield from (
                "",
                f"{scope}, {result['steps'][scope]} steps, {waiting} waiting: ms per adaptation (times ours)",
                "",
                *_table(rows),
            )
    yield from ("", "ours, one task, as it grows", "", *_grown(result["growth"]))
    yield from ("", *encoder_lines(result["encoder"]))


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Give a line for each contender, its columns cells."""
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    yield from ("| | " + " | ".join(cells) + " |", "| --- |" + " ---: |" * len(cells))
    for name in dict.fromkeys(row["contender"] for row in rows):
        own = [row for row in rows if row["contender"] == name]
        yield f"| {name} | " + " | ".join(f"{row['ms']:.2f} ({row['over_ours']:.2f}×)" for row in own) + " |"


def _grown(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield from ("| grows | way | shot | steps | ms |", "| --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        yield f"| {row['grows']} | {row['way']} | {row['shot']} | {row['steps']} | {row['ms']:.2f} |"


if __name__ == "__main__":
    typer.run(main)
