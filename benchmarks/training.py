"""Meta-training side by side: this trainer's outer rule and the libraries' own examples, with the same network, weights and episodes.

Usage: benchmarks/.venv/bin/python -m benchmarks.training
The environment is made as benchmarks/peers/requirements.txt says; without it the libraries are reported as absent.
A strided conv4-64 (batch norm for ANIL, as in the examples, group norm for MAML), 5-way 1-shot, 15 queries a class, four
episodes a meta-step. Everybody's meta-gradient is compared with ours before the clock starts; then all take turns in one process.
Our ANIL runs a second time in bfloat16 (`precision` in a configuration), which no example does.
Writes benchmarks/results/training-speed-cpu.json and prints Markdown tables.
"""

import gc
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.agreement import DisagreementError
from benchmarks.peers import meta_training
from benchmarks.peers.libraries import installed
from benchmarks.peers.meta_training import META_RATE, MakeMetaStep, MetaStep
from benchmarks.peers.plain_modules import Head, Whole, plain_encoder
from benchmarks.stopwatch import Clock, Entrant, medians
from benchmarks.subject import RESULTS, SEED, machine
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.encoder import Norm, Normalise
from service.learner.episodes import Episode, Support
from service.learner.meta_model import MetaModel, initial_params
from service.learner.outer_rules import Outcome
from service.learner.parameters import Params, channels_last, trainable
from service.learner.presets import PRESETS
from service.learner.starts import Learner
from service.learner.statistics import episode_statistics, measure
from service.training.meta_train import Validated, meta_train
from service.training.options import TrainOptions
from service.training.sources.sinusoid import Sinusoids

OURS, OURS_LOW = "ours", "ours, bfloat16"
WAY, QUERIES, META_BATCH, STEPS = 5, 15, 4, 5
# Meta-gradients, as a share of their norm. Mostly a millionth; one rectifier that another order of sums switches is half a hundredth.
TOLERANCE = 1e-2
# Products in bfloat16 keep eight bits: enough for a head's steps, not for a second order through the encoder.
LOW_TOLERANCE, LOW_PRESETS = 0.2, ("anil",)
NORMS: dict[str, Norm] = {"maml": "group", "anil": "batch"}
# Somebody's parameters, meta-step, and how far the meta-gradient may be from ours.
Other = tuple[Params, MetaStep, float]

PEERS: dict[str, dict[str, MakeMetaStep]] = {"maml": dict(meta_training.MAML), "anil": dict(meta_training.ANIL)}


def fresh(preset: str) -> MetaModel:
    """Give a meta-model of a preset with random weights, whose inner step is small enough for every library's rounding to agree."""
    encoder, recipe = Conv4(norm=NORMS[preset]), replace(PRESETS[preset].recipe, way=WAY, step_size=0.05)
    params = initial_params(encoder, recipe, torch.Generator().manual_seed(SEED))
    return MetaModel(encoder, recipe, params, measure(encoder, params, torch.rand(256, *encoder.input_shape)))


def episodes(shape: Sequence[int], count: int) -> list[Episode]:
    """Draw tasks of pictures of a shape, a class a pattern under noise: what they show does not matter for the time."""
    generator, labels = torch.Generator().manual_seed(SEED), torch.arange(WAY)

    def drawn() -> Episode:
        patterns = torch.rand(WAY, *shape, generator=generator)
        noisy = [(patterns + 0.3 * torch.rand(WAY, *shape, generator=generator)) / 1.3 for _ in range(1 + QUERIES)]
        return Episode(Support(noisy[0], labels, WAY), torch.cat(noisy[1:]), labels.repeat(QUERIES))

    return [drawn() for _ in range(count)]


@dataclass(slots=True)
class Ours:
    """Our outer rule, episode by episode as the trainer calls it, and the same Adam outside as the peers have."""

    learner: Learner
    preset: str
    optimiser: torch.optim.Optimizer

    @classmethod
    def of(cls, model: MetaModel, preset: str, *, low: bool = False) -> "Ours":
        """Begin with a meta-model's parameters."""
        params = trainable(channels_last(model.params))

        def encode(given: Params, inputs: torch.Tensor, normalise: Normalise | None) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                return model.encoder(given, inputs, normalise or episode_statistics).to(torch.float32)

        return cls(Learner(params, model.recipe, model.encoder, encode), preset, torch.optim.Adam(params.values(), META_RATE))

    def step(self, tasks: Sequence[Episode]) -> None:
        """Take a meta-step."""
        rule, params = PRESETS[self.preset].outer_rule, self.learner.params
        outcomes = [rule(self.learner, each, STEPS, progress=0.0) for each in tasks]
        for name, value in params.items():
            value.grad = torch.stack([each.gradients[name] for each in outcomes]).mean(dim=0)
        self.optimiser.step()


def race(preset: str, clock: Clock) -> list[dict[str, Any]]:
    """Give a row for everybody who meta-trains by a preset."""
    model, tasks = fresh(preset), episodes((1, 28, 28), META_BATCH)
    ours = Ours.of(model, preset)
    low = {OURS_LOW: Ours.of(model, preset, low=True)} if preset in LOW_PRESETS else {}
    peers = meta_training.made(PEERS[preset], partial(as_module, model), model.recipe.step_size, STEPS)
    others: dict[str, Other] = {name: (each.learner.params, each.step, LOW_TOLERANCE) for name, each in low.items()}
    others |= {name: (dict(module.named_parameters()), step, TOLERANCE) for name, (module, step) in peers.items()}
    gaps = agreement(ours, others, tasks)
    steps: dict[str, MetaStep] = {OURS: ours.step, **{name: step for name, (_, step, _) in others.items()}}
    spent = clock.race([Entrant(name, [partial(step, tasks)], units=META_BATCH) for name, step in steps.items()])
    middle = medians(spent)
    return [
        {
            "preset": preset,
            "contender": name,
            "tasks_per_second": round(1000 / middle[name], 2),
            "ours_over_it": round(middle[name] / middle[OURS], 3),
            "gap_of_meta_gradient": float(f"{gaps[name]:.1e}"),
            "rounds_ms_per_task": [round(value, 3) for value in spent[name]],
        }
        for name in steps
    ]


def as_module(model: MetaModel) -> Whole:
    """Give the same weights as a module of a peer's own."""
    head = Head(model.params["head.weight"].clone(), model.params["head.bias"].clone())
    return Whole(plain_encoder(model, torch.device("cpu")).train(), head)


def agreement(ours: Ours, others: Mapping[str, Other], tasks: Sequence[Episode]) -> dict[str, float]:
    """Take one meta-step each; give how far everybody's meta-gradient is from ours, as a share of its norm; each is allowed its own.

    Raises:
        DisagreementError: somebody computes something else.
    """
    ours.step(tasks)
    expected, gaps = _slopes(ours.learner.params), {OURS: 0.0}
    for name, (params, step, allowed) in others.items():
        step(tasks)
        found = _slopes(params)
        gaps[name] = float(torch.stack([(found[key] - value).square().sum() for key, value in expected.items()]).sum().sqrt())
        gaps[name] /= float(torch.stack([value.square().sum() for value in expected.values()]).sum().sqrt())
        if not gaps[name] <= allowed:
            raise DisagreementError(f"{name}: expected our meta-gradient within {allowed}, got {gaps[name]:.1e} of its norm")
    return gaps


def _slopes(params: Params) -> dict[str, torch.Tensor]:
    return {name: value.grad for name, value in params.items() if value.grad is not None}


@dataclass(slots=True)
class Held:
    """Hears of a run, and notes the memory that this process holds after every so many meta-steps."""

    every: int
    resident_bytes: list[int] = field(default_factory=list)

    def stepped(self, step: int, outcome: Outcome, learning_rate: float) -> None:  # noqa: ARG002 - what a reporter hears
        """Hear of one meta-step."""
        if step % self.every == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
            self.resident_bytes.append(pages * os.sysconf("SC_PAGE_SIZE"))

    def validated(self, found: Validated) -> None:
        """Hear of one validation."""


def memory_over(steps: int, run: Path) -> list[int]:
    """Train second-order MAML on sine waves; give the bytes held after each twentieth of the meta-steps, the first of them a warm-up."""
    options = TrainOptions.model_validate(
        {
            "name": "memory",
            "preset": "maml",
            "threads": 1,
            "data": {"source": "sinusoid"},
            "encoder": {"kind": "mlp", "inputs": 1, "width": 40, "layers": 2},
            "recipe": {"head": "output", "way": 1, "step_size": 0.01},
            "stages": [{"steps": steps, "way": [2, 2], "shot": [10, 10], "queries": 10, "inner_steps": 3}],
            "validation": {"every": steps // 10, "episodes": 20, "way": 2, "shot": 10},
        }
    )
    held, tasks = Held(every=steps // 20), Sinusoids()
    meta_train(options, {part: tasks for part in ("train", "validation", "test")}, run, reporter=held)
    return held.resident_bytes


def main(
    rounds: int = 9,
    seconds: Annotated[float, typer.Option(help="For each contender.")] = 30.0,
    patience: Annotated[float, typer.Option(help="For all contenders of a preset; three rounds are taken whatever they cost.")] = 240.0,
    memory_steps: int = 10_000,
) -> None:
    """Measure speed, then memory; some minutes."""
    torch.set_num_threads(1)
    clock, (libraries, absent) = Clock(torch.device("cpu"), rounds, seconds, patience), installed()
    rows = [row for preset in NORMS for row in race(preset, clock)]
    with tempfile.TemporaryDirectory() as run:
        held = memory_over(memory_steps, Path(run))
    result = {
        **machine(clock),
        "network": {preset: asdict(Conv4(norm=norm)) for preset, norm in NORMS.items()},
        "episode": {"way": WAY, "shot": 1, "queries_per_class": QUERIES, "inner_steps": STEPS, "meta_batch": META_BATCH},
        "peers": {each.name: each.version for each in libraries},
        "absent_peers": absent,
        "speed": rows,
        "memory": {"meta_steps": memory_steps, "resident_bytes": held, "grown_bytes": held[-1] - held[0]},
    }
    (RESULTS / "training-speed-cpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    typer.echo("\n".join(_printed(result)))


def _printed(result: dict[str, Any]) -> Iterator[str]:
    yield from (f"{name} is absent: {reason}" for name, reason in result["absent_peers"].items())
    yield from ("| preset | | tasks a second | ours / it |", "| --- | --- | ---: | ---: |")
    for row in result["speed"]:
        yield f"| {row['preset']} | {row['contender']} | {row['tasks_per_second']:.1f} | {row['ours_over_it']:.2f}× |"
    memory = result["memory"]
    yield f"memory over {memory['meta_steps']:,} meta-steps: {memory['grown_bytes'] / 2**20:+.1f} MiB after the first twentieth"


if __name__ == "__main__":
    typer.run(main)
