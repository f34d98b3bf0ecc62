"""The meta-model `photos` beside its encoder trained by plain classification, with class means or a linear probe as head.

Usage: python -m benchmarks.photos --data-root FOLDER [--pretrained RUN]
All judge the same episodes of the 20 test classes, every query alone. Writes benchmarks/results/photos-<version>.json and prints the
table of docs/results.md. The plain encoder trains by the same configuration, for as many steps, all of them of classification; a run
is resumed from runs/photos-plain. Both runs are the same until pretraining ends, so with --pretrained the checkpoint of a run of
configs/photos.toml that was stopped there, or before, is gone on from.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from benchmarks.subject import RESULTS, SEED, named, processor
from service.learner import heads
from service.learner.batched_heads import adapt_heads
from service.learner.episodes import ClassInputs, Episode, EpisodeShape
from service.learner.heads import prototypes
from service.learner.losses import one_hot
from service.learner.meta_model import MetaModel
from service.learner.task_batch import TaskBatch
from service.registry.read import find
from service.training.checkpoint import FILENAME, load_checkpoint, save_checkpoint
from service.training.evaluate import Pool, pool
from service.training.meta_train import meta_train
from service.training.options import TrainOptions, read_options
from service.training.pretraining import by_nearest_means
from service.training.report import ProgressReport
from service.training.sources.load import load_classes
from service.training.tracking import tracker

CONFIG = Path("configs/photos.toml")
CELLS = (EpisodeShape(5, (1, 1), 15), EpisodeShape(5, (5, 5), 15), EpisodeShape(20, (1, 1), 10), EpisodeShape(20, (5, 5), 10))

# Of scikit-learn's LogisticRegression: what the losses of the examples count against half the squared weights.
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
CHUNK = 50

# The logits [way] of every query, for episodes of one shape.
Judge = Callable[[list[Episode]], list[Tensor]]


@dataclass(frozen=True, slots=True)
class Contender:
    """An encoder's classes and what answers for it; all pools hold the same classes, so the same seed draws the same episodes."""

    name: str
    unseen: Pool
    judge: Judge

    def accuracies(self, shape: EpisodeShape, episodes: int) -> Tensor:
        """Give the share of right answers in each episode: [episodes]."""
        generator = torch.Generator().manual_seed(SEED)
        found = []
        for done in range(0, episodes, CHUNK):
            drawn = [self.unseen.episode(shape, generator) for _ in range(min(CHUNK, episodes - done))]
            for episode, logits in zip(drawn, self.judge(drawn), strict=True):
                found.append((logits.argmax(dim=1) == episode.query_labels).to(torch.float64).mean())
        return torch.stack(found)


def adapted(model: MetaModel, steps: int) -> Judge:
    """Answer as the server does, after inner steps."""

    def judge(episodes: list[Episode]) -> list[Tensor]:
        batch = TaskBatch.of([episode.support for episode in episodes])
        fitted = adapt_heads(model.params, model.recipe, batch, [steps] * len(episodes))
        factor = heads.scale(model.params)
        return [heads.logits(each.params, episode.queries, factor) for each, episode in zip(fitted, episodes, strict=True)]

    return judge


def nearest_by_cosine(episodes: list[Episode]) -> list[Tensor]:
    """Answer with the class mean of the smallest angle."""
    return [
        F.normalize(each.queries, dim=1)
        @ F.normalize(prototypes(each.support.inputs, one_hot(each.support.labels, each.support.way, each.queries)), dim=1).T
        for each in episodes
    ]


def probe(strength: float) -> Judge:
    """Answer by logistic regression on embeddings of length one (Tian et al. 2020, arXiv:2003.11539), every episode its own."""

    def judge(episodes: list[Episode]) -> list[Tensor]:
        seen = torch.stack([F.normalize(each.support.inputs, dim=1) for each in episodes])
        labels = torch.stack([each.support.labels for each in episodes])
        weight, bias = fit(seen, labels, episodes[0].support.way, strength)
        asked = torch.stack([F.normalize(each.queries, dim=1) for each in episodes])
        return list((asked @ weight.mT + bias.unsqueeze(1)).unbind())

    return judge


def fit(seen: Tensor, labels: Tensor, way: int, strength: float) -> tuple[Tensor, Tensor]:
    """Fit T logistic regressions to embeddings [T, N, D] and labels [T, N]: weights [T, way, D] and biases [T, way]."""
    weight = torch.zeros(len(seen), way, seen.shape[2], requires_grad=True)
    bias = torch.zeros(len(seen), way, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=100, tolerance_grad=1e-4, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        logits = seen @ weight.mT + bias.unsqueeze(1)
        value = strength * F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") + weight.square().sum() / 2
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def best_probe(unseen: Pool, shape: EpisodeShape) -> float:
    """Choose the strength on validation classes."""
    return max(STRENGTHS, key=lambda strength: Contender("", unseen, probe(strength)).accuracies(shape, 100).mean().item())


def plainly(options: TrainOptions) -> TrainOptions:
    """Give the configuration with classification in place of its meta-steps: as many steps, one schedule."""
    pretraining = options.pretraining.model_copy(update={"steps": options.steps})
    return options.model_copy(update={"name": "photos-plain", "pretraining": pretraining, "stages": ()})


def trained_plainly(options: TrainOptions, data: Mapping[str, ClassInputs], run: Path, pretrained: Path | None) -> MetaModel:
    """Train the encoder by classification alone, or go on with it."""
    plain = plainly(options)
    if pretrained is not None and not (run / FILENAME).exists():
        shared = load_checkpoint(pretrained, options)
        if shared.step > options.pretraining.steps:
            raise typer.BadParameter(f"{pretrained}: expected a checkpoint of at most {options.pretraining.steps} steps, got {shared.step}")
        save_checkpoint(run, shared, plain)
    with ProgressReport(tracker("tensorboard", run, plain), meta_steps=plain.steps) as reporter:
        trained = meta_train(plain, data, run, reporter=reporter, resume=(run / FILENAME).exists())
    if trained is None:
        raise RuntimeError("the run ended before its validation")
    return by_nearest_means(trained.model)


def table(ours: MetaModel, plain: MetaModel, data: Mapping[str, ClassInputs], episodes: int) -> list[dict[str, Any]]:
    """Judge every contender in every cell: mean, 95 % confidence interval, and how far `photos` leads, with the interval of that."""
    seen, bare = pool(ours, data["test"]), pool(plain, data["test"])
    tuned = {"photos": pool(ours, data["validation"]), "plain": pool(plain, data["validation"])}
    rows = []
    for shape in CELLS:
        enough = shape.way <= len(data["validation"])
        tuning = shape if enough else EpisodeShape(len(data["validation"]), shape.shot, shape.queries)
        strengths = {name: best_probe(classes, tuning) for name, classes in tuned.items()}
        contenders = [
            Contender("photos", seen, adapted(ours, ours.recipe.steps_default)),
            Contender("photos, no inner step", seen, adapted(ours, 0)),
            Contender("photos' encoder, linear probe", seen, probe(strengths["photos"])),
            Contender("plain encoder, nearest mean", bare, adapted(plain, 0)),
            Contender("plain encoder, nearest mean by cosine", bare, nearest_by_cosine),
            Contender("plain encoder, linear probe", bare, probe(strengths["plain"])),
        ]
        first = contenders[0].accuracies(shape, episodes)
        for contender in contenders:
            found = contender.accuracies(shape, episodes)
            rows.append({"cell": named(shape), "who": contender.name, **_stated("accuracy", found), **_stated("lead", first - found)})
        rows[-1]["probe_strengths"] = strengths
    return rows


def _stated(what: str, values: Tensor) -> dict[str, float]:
    return {what: round(values.mean().item(), 5), f"{what}_ci95": round(1.96 * values.std().item() / math.sqrt(len(values)), 5)}


def main(
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    model_store: Path = Path("model_store"),
    run: Annotated[Path, typer.Option(help="Where the plain encoder trains.")] = Path("runs/photos-plain"),
    pretrained: Annotated[Path | None, typer.Option(help="Folder of a checkpoint to share.")] = None,
    episodes: int = 1_000,
) -> None:
    """Train the plain encoder, judge all, write and print."""
    options, stored = read_options(CONFIG), find(model_store, "photos")
    data = load_classes(options, data_root=data_root)
    plain = trained_plainly(options, data, run, pretrained)
    rows = table(stored.model, plain, data, episodes)
    provenance = {"model": f"photos@{stored.manifest.version}", "weights_sha256": stored.manifest.weights.sha256}
    steps = {"steps": options.steps, "pretraining_steps": options.pretraining.steps}
    setting = {"torch": str(torch.__version__), "processor": processor(), "seed": SEED, "episodes": episodes}
    result = {**provenance, **steps, **setting, "rows": rows}
    (RESULTS / f"photos-{stored.manifest.version}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for who in dict.fromkeys(row["who"] for row in rows):
        cells = [f"{100 * row['accuracy']:.2f} ± {100 * row['accuracy_ci95']:.2f}" for row in rows if row["who"] == who]
        typer.echo(f"| {who} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
