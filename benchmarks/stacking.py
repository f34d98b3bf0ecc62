"""Models that move the body: sessions one after the other beside sessions stacked, to say from how many on stacking pays on a device.

Usage: python -m benchmarks.stacking --data-root FOLDER [--device cuda:0]
Both are this engine, told when to stack; what they adapt to is compared before the clock starts. Five unseen characters once, or ten points
of a sine wave; one query of each session. Writes benchmarks/results/stacking-<device>.json and prints a Markdown table.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.agreement import DisagreementError, gap_between
from benchmarks.stopwatch import Clock, Entrant, medians
from benchmarks.subject import RESULTS, SEED, find_subject, machine
from service.learner.encoders.conv4 import Conv4
from service.learner.episodes import ClassInputs, EpisodeShape, sample_episode
from service.learner.meta_model import MetaModel, as_served, initial_params
from service.learner.recipe import Recipe
from service.registry.read import find
from service.runtime.bodies import STACKING, Stacking
from service.runtime.device import claim_device
from service.runtime.engine import Engine, Fitted
from service.runtime.tasks import AdaptTask, PredictTask
from service.training.sources.omniglot import omniglot
from service.training.sources.sinusoid import Sinusoids

COUNTS = (1, 2, 4, 8, 16, 64)
WAY = 5
APART, STACKED = "apart", "stacked"
MODEL_STORE = Path("model_store")


def conv4(recipe: Recipe, *, context: int = 0) -> MetaModel:
    """Give the strided network of Finn et al. (2017) with group norm and random weights."""
    encoder = Conv4(norm="group", context=context)
    return MetaModel(encoder, recipe, initial_params(encoder, recipe, torch.Generator().manual_seed(SEED)), {})


def models() -> dict[str, MetaModel]:
    """Name a meta-model of each kind."""
    whole = Recipe(scope="all", head="per_class", way=WAY, step_size=0.02, steps_default=3, steps_max=3)
    context = Recipe(scope="context", head="per_class", way=WAY, step_size=0.02, steps_default=3, steps_max=3)
    last = Recipe(scope="last_block", step_size=0.02, steps_default=3, steps_max=3)
    return {
        "sinusoid, context of an MLP": find(MODEL_STORE, "sinusoid").model,
        "sinusoid-maml, all of an MLP": find(Path("benchmarks/model_store"), "sinusoid-maml").model,
        "conv4-64, context": conv4(context, context=100),
        "conv4-64, last block": conv4(last),
        "conv4-64, all": conv4(whole),
        "omniglot-maml, all of a residual network": find(MODEL_STORE, "omniglot-maml").model,
    }


@dataclass(frozen=True, slots=True)
class Race:
    """An engine that never stacks and one that always does, before the tasks of one meta-model."""

    name: str
    model: MetaModel
    tasks: Sequence[AdaptTask]
    engines: Mapping[str, Engine]
    clock: Clock

    def rows(self) -> Iterator[dict[str, Any]]:
        """Measure adapting to many support sets, and asking many sessions, for every number of them."""
        adapted = [self._adapted(engine) for engine in self.engines.values()]
        gaps = sorted(_gap(one, other) for one, other in zip(*adapted, strict=True))
        told = {"gap": _agreed(gaps[len(gaps) // 2]), "largest_gap": gaps[-1]}
        asked = [
            PredictTask(fitted.adapted.params, fitted.weights_digest, task.support.inputs[:1], 1)
            for fitted, task in zip(adapted[0], self.tasks, strict=True)
        ]
        for count in COUNTS:
            few, some = self.tasks[:count], asked[:count]
            yield told | self._row("adapt", count, {name: partial(each.adapt, self.model, few) for name, each in self.engines.items()})
            yield self._row("predict", count, {name: partial(each.predict, self.model, some) for name, each in self.engines.items()})

    def _row(self, verb: str, count: int, calls: Mapping[str, Callable[[], object]]) -> dict[str, Any]:
        spent = medians(self.clock.race([Entrant(name, [call], units=count) for name, call in calls.items()]))
        told = {name: round(value, 4) for name, value in spent.items()}
        return {"model": self.name, "verb": verb, "waiting": count, **told, "gain": round(spent[APART] / spent[STACKED], 2)}

    def _adapted(self, engine: Engine) -> list[Fitted]:
        return [each for each in engine.adapt(self.model, self.tasks) if isinstance(each, Fitted)]


def tasks_of(model: MetaModel, drawings: ClassInputs) -> list[AdaptTask]:
    """Draw support sets: ten points of a sine wave for a regression, else five unseen characters once."""
    generator, steps, episodes = torch.Generator().manual_seed(SEED), model.recipe.steps_default, []
    for _ in range(max(COUNTS)):
        if model.recipe.regression:
            episodes.append(Sinusoids().episode(EpisodeShape(1, (10, 10), 1), generator))
        else:
            episodes.append(sample_episode(drawings, EpisodeShape(WAY, (1, 1), 1), generator))
    return [AdaptTask(episode.support, steps) for episode in episodes]


def _gap(one: Fitted, other: Fitted) -> float:
    """Give how far the weights of two ways to adapt come apart."""
    expected, found = (torch.cat([each.adapted.params[name].flatten() for name in one.adapted.params]) for each in (one, other))
    return float(f"{gap_between(found, expected):.1e}")


def _agreed(gap: float) -> float:
    """Refuse to time what does not agree; raises DisagreementError.

    The median is asked: a rectifier whose input is nothing but rounding may be open in one and closed in the other.
    """
    if gap > 1e-6:
        raise DisagreementError(f"expected the same weights to 1e-6 of their norm, got {gap:.1e}")
    return gap


def main(
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    device: str = "cpu",
    threads: int = 1,
    rounds: int = 7,
    seconds: Annotated[float, typer.Option(help="For each way in each cell.")] = 1.0,
    patience: Annotated[float, typer.Option(help="For both ways of a cell; three rounds are taken whatever they cost.")] = 30.0,
) -> None:
    """Compare, measure, write and print; about five minutes."""
    clock, rows = Clock(claim_device(device, threads=threads), rounds, seconds, patience), list[dict[str, Any]]()
    room = STACKING[clock.device.type].room_bytes
    engines = {
        APART: Engine(clock.device, stacking=Stacking(10**9, 10**9, kernels=True, room_bytes=room)),
        STACKED: Engine(clock.device, stacking=Stacking(1, 1, kernels=True, room_bytes=room)),
    }
    drawings = omniglot(data_root, find_subject(MODEL_STORE, "omniglot").preprocessing, split="vinyals")["test"]
    for name, model in models().items():
        rows += Race(name, as_served(model, clock.device), tasks_of(model, drawings), engines, clock).rows()
    result = {**machine(clock), "room_bytes": room, "rows": rows}
    (RESULTS / f"stacking-{clock.device.type}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    typer.echo("\n".join(_table(rows)))


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give a line for each meta-model and verb, its columns the numbers that wait."""
    yield "| milliseconds each, apart → stacked | " + " | ".join(map(str, COUNTS)) + " |"
    yield "| --- |" + " ---: |" * len(COUNTS)
    for name, verb in dict.fromkeys((row["model"], row["verb"]) for row in rows):
        own = [row for row in rows if (row["model"], row["verb"]) == (name, verb)]
        told = " | ".join(f"{row[APART]:.3g} → {row[STACKED]:.3g} ({row['gain']:.1f}×)" for row in own)
        yield f"| {name}: {verb} | {told} |"


if __name__ == "__main__":
    typer.run(main)
