"""Queries unlike every class: what tells them from queries of a class, and how often the served mark is right and wrong.

Usage: python -m benchmarks.unfamiliar omniglot --data-root FOLDER [--episodes 300]
Writes benchmarks/results/unfamiliar-<name>-<version>.json, and prints the rows of docs/adr/0014.
"""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from benchmarks.stress import STRESSES, load
from benchmarks.subject import SEED, Subject, find_subject, named
from service.errors import BlankImageError
from service.learner import heads, losses
from service.learner.batched_heads import adapt_heads
from service.learner.episodes import ClassInputs, EpisodeShape, Support
from service.learner.familiarity import reaches
from service.learner.task_batch import TaskBatch
from service.training.evaluate import Pool, embed_all, pool
from service.training.sources.omniglot import VINYALS_TEST

# `group` draws all classes of a task from one alphabet.
CELLS = tuple(EpisodeShape(way, (shot, shot), 2, group=group) for way, group in ((5, 0), (5, 5), (20, 20)) for shot in (1, 2, 5))
STRANGERS, IN_ALL = 10, 1000  # of each kind: a task's, and those they are drawn from

Scores = dict[str, Tensor]


def scores_of(subject: Subject, adapted: Mapping[str, Tensor], centres: Tensor, queries: Tensor) -> Scores:
    """Score how strange queries are, in every way that was considered; more is stranger."""
    factor = heads.scale(subject.stored.model.params)
    logits = heads.logits(adapted, queries, factor)
    best, second = logits.softmax(dim=1).topk(2, dim=1).values.T
    return {
        "score": 1 - best,
        "margin": second - best,
        "energy": -logits.logsumexp(dim=1),
        "distance, class means": torch.cdist(queries, centres).square().amin(dim=1),
        "distance, adapted head": heads.distances(logits.amax(dim=1), queries, factor),
    }


def judge(subject: Subject, characters: Pool, strange: Mapping[str, Tensor], shape: EpisodeShape, episodes: int) -> dict[str, object]:
    """Measure one cell: how well each score separates, and what the served mark does."""
    generator, chance = torch.Generator().manual_seed(SEED), random.Random(SEED)  # noqa: S311 - drawing, not secrets
    found: dict[str, list[Scores]] = {}
    marks: dict[str, list[Tensor]] = {}
    for _ in range(episodes):
        task, groups = drawn(characters, strange, shape, generator, chance)
        (adapted,) = adapt_heads(
            subject.stored.model.params, subject.stored.model.recipe, TaskBatch.of([task]), [subject.stored.model.recipe.steps_default]
        )
        centres = heads.prototypes(task.inputs, losses.one_hot(task.labels, task.way, task.inputs))
        (reach,) = reaches(TaskBatch.of([without_views(task, subject.stored.model.recipe.views)]), subject.stored.model.spread)
        for kind, queries in groups.items():
            scores = scores_of(subject, adapted.params, centres, queries)
            found.setdefault(kind, []).append(scores)
            marks.setdefault(kind, []).append(scores["distance, adapted head"] > (torch.inf if reach is None else reach))
    together = {kind: {name: torch.cat([each[name] for each in parts]) for name in parts[0]} for kind, parts in found.items()}
    own = together.pop("own")
    return {
        "auroc": {name: {kind: round(auroc(own[name], each[name]), 4) for kind, each in together.items()} for name in own},
        "marked": {kind: round(float(torch.cat(each).float().mean()), 4) for kind, each in marks.items()},
    }


def drawn(
    characters: Pool, strange: Mapping[str, Tensor], shape: EpisodeShape, generator: torch.Generator, chance: random.Random
) -> tuple[Support, dict[str, Tensor]]:
    """Draw a task, queries of its classes, and strangers of each kind."""
    rows = characters.rows
    by_alphabet = [group for group in rows.groups() if len(group) >= shape.way]
    chosen = chance.sample(chance.choice(by_alphabet) if shape.group else range(len(rows)), shape.way)
    alphabets = {rows.names[k].rpartition("/")[0] for k in chosen}
    elsewhere = [k for k in range(len(rows)) if rows.names[k].rpartition("/")[0] not in alphabets]
    beside = [k for k in range(len(rows)) if k not in chosen and rows.names[k].rpartition("/")[0] in alphabets]
    episode = Pool(rows.only(chosen), characters.support, characters.queries).episode(
        EpisodeShape(shape.way, shape.shot, shape.queries), generator
    )
    one_of = {kind: _one_of_each(rows, chance.sample(each, min(STRANGERS, len(each))), chance) for kind, each in
              (("other alphabets", elsewhere), ("same alphabets", beside)) if each}  # fmt: skip
    groups = {"own": episode.queries, **{kind: characters.queries[each] for kind, each in one_of.items()}}
    return episode.support, groups | {kind: each[chance.sample(range(len(each)), STRANGERS)] for kind, each in strange.items()}


def _one_of_each(rows: ClassInputs, classes: Iterable[int], chance: random.Random) -> Tensor:
    return torch.tensor([rows.first[k] + chance.randrange(rows.size(k)) for k in classes])


def without_views(task: Support, views: int) -> Support:
    """Give each example once, as the mean of its views."""
    count = len(task.labels) // views
    return Support(task.inputs.view(views, count, -1).mean(dim=0), task.labels[:count], task.way)


def auroc(own: Tensor, strange: Tensor) -> float:
    """How often a stranger scores above a query of a class, 0.5 for chance (Mann and Whitney 1947)."""
    ranks = torch.cat([own, strange]).double().argsort().argsort() + 1
    return float((ranks[len(own) :].sum() - len(strange) * (len(strange) + 1) / 2) / (len(own) * len(strange)))


def strangers(subject: Subject, data_root: Path) -> dict[str, Tensor]:
    """Embed what is no character: digits, photographs, grey noise on paper; what is refused as blank is left out."""
    kinds = {"digits": _digits(data_root), "photographs": _photographs(data_root), "noise": _noise()}
    return {kind: embed_all(subject.stored.model, torch.stack(list(_seen(subject, images)))) for kind, images in kinds.items()}


def _seen(subject: Subject, images: Iterable[Image.Image]) -> Iterator[Tensor]:
    for image in images:
        try:
            yield subject.preprocessing(image)
        except BlankImageError:
            continue


def _digits(data_root: Path) -> Iterator[Image.Image]:
    content = gzip.decompress((data_root / "mnist_t10k" / "t10k-images-idx3-ubyte.gz").read_bytes())
    yield from map(Image.fromarray, np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)[:IN_ALL])


def _photographs(data_root: Path) -> Iterator[Image.Image]:
    with zipfile.ZipFile(data_root / "caltech101" / "caltech101_84x84.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        yield from (Image.open(io.BytesIO(archive.read(name))) for name in names[:: max(1, len(names) // IN_ALL)])


def _noise() -> Iterator[Image.Image]:
    grey = np.random.default_rng(SEED).normal(250, 12, (IN_ALL // 2, 105, 105))
    yield from map(Image.fromarray, grey.clip(0, 255).astype(np.uint8))


def main(
    model: str,
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    model_store: Path = Path("model_store"),
    episodes: int = 300,
) -> None:
    """Measure every cell."""
    subject = find_subject(model_store, model)
    last = VINYALS_TEST if subject.split == "vinyals" else None
    characters = pool(subject.stored.model, load(data_root, subject.preprocessing, STRESSES["none"], last=last))
    strange, cells = strangers(subject, data_root), {}
    for shape in CELLS:
        name = named(shape) + (", one alphabet" if shape.group else "")
        cells[name] = judge(subject, characters, strange, shape, episodes)
        typer.echo(f"{name}: {json.dumps(cells[name], indent=1)}")
    result = {**subject.provenance, "spread": subject.stored.manifest.spread, "episodes": episodes, "cells": cells}
    subject.results("unfamiliar").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
