"""What docs/results.md says of a shipped Omniglot meta-model beside its card: more cells, inner steps, calibration, digits, milliseconds.

Usage: python -m benchmarks.accuracy omniglot --data-root FOLDER [--episodes 1000]
Writes benchmarks/results/accuracy-<name>-<version>.json and prints its tables.
"""

import gzip
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from benchmarks.subject import SEED, USUAL, WITHIN, Subject, find_subject, named
from service.inputs.preprocessing import Preprocessing
from service.learner import losses
from service.learner.episodes import ClassInputs, EpisodeShape, sample_episode
from service.learner.heads import prototypes
from service.learner.meta_model import MetaModel
from service.learner.recipe import Recipe
from service.learner.views import MOST_VIEWS
from service.runtime.engine import Engine, Fitted
from service.runtime.tasks import AdaptTask, PredictTask
from service.training.evaluate import Pool, evaluate, pool
from service.training.options import OmniglotData
from service.training.sources.load import load_data

WAYS = (2, 5, 20, 50, 100)
SHOTS = ((1, 1), (5, 5), (10, 10), (1, 10))
FRESH_STEPS = 100


def cells(ways: Sequence[int], shots: Sequence[tuple[int, int]], queries: int) -> Iterator[EpisodeShape]:
    """Every way with every range of shots; a range is drawn from for each class."""
    return (EpisodeShape(way, shot, queries, uneven=shot[0] != shot[1]) for way in ways for shot in shots)


def judge(model: MetaModel, unseen: Pool, shape: EpisodeShape, *, steps: int, episodes: int) -> dict[str, Any]:
    """Give one row: the cell, the steps and what `evaluate` found."""
    judged = evaluate(model, unseen, shape, steps=steps, episodes=episodes, seed=SEED)
    return {"cell": named(shape), "steps": steps, "episodes": episodes, **{key: round(value, 5) for key, value in asdict(judged).items()}}


def step_counts(model: MetaModel) -> list[int]:
    """Give none, one, the default and the most inner steps."""
    return sorted({0, min(1, model.recipe.steps_max), model.recipe.steps_default, model.recipe.steps_max})


def omniglot(model: MetaModel, unseen: Pool, episodes: int) -> list[dict[str, Any]]:
    """Judge every cell with every count of steps, on the same episodes."""
    counts = step_counts(model)
    return [judge(model, unseen, shape, steps=steps, episodes=episodes) for shape in cells(WAYS, SHOTS, queries=5) for steps in counts]


def views(model: MetaModel, classes: ClassInputs, episodes: int) -> list[dict[str, Any]]:
    """Judge the four usual cells with other numbers of views of the support set."""
    rows = []
    for count in (1, 3, MOST_VIEWS):
        seen = replace(model, recipe=replace(model.recipe, views=count))
        unseen, steps = pool(seen, classes), model.recipe.steps_default
        rows += [{"views": count, **judge(seen, unseen, shape, steps=steps, episodes=episodes)} for shape in USUAL]
    return rows


def within_alphabets(model: MetaModel, unseen: Pool, tasks: int) -> dict[str, Any]:
    """Judge tasks whose characters share an alphabet."""
    return judge(model, unseen.within(WITHIN.way), WITHIN, steps=model.recipe.steps_default, episodes=tasks)


def mnist(folder: Path, see: Callable[[Image.Image], Tensor]) -> ClassInputs:
    """Read the 10,000 MNIST test digits, each as `see` makes it."""
    pixels = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return ClassInputs.of([(str(k), torch.stack([see(Image.fromarray(digit)) for digit in pixels[labels == k]])) for k in range(10)])


def as_they_are(digit: Image.Image) -> Tensor:
    """Give the pixels as numbers in 0..1: [784]."""
    return torch.tensor(np.asarray(digit, dtype=np.float32).ravel() / 255)


def nearest_mean(classes: ClassInputs, shape: EpisodeShape, episodes: int) -> float:
    """Judge the class means of the inputs themselves."""
    generator = torch.Generator().manual_seed(SEED)
    scores = []
    for _ in range(episodes):
        episode = sample_episode(classes, shape, generator)
        centres = prototypes(episode.support.inputs, losses.one_hot(episode.support.labels, shape.way, episode.support.inputs))
        scores.append(losses.accuracy(-torch.cdist(episode.queries, centres), episode.query_labels))
    return torch.stack(scores).mean().item()


def fresh_head(model: MetaModel) -> MetaModel:
    """Give the same encoder and views with a linear head that starts from zeros and takes plain gradient steps of 0.05."""
    params = {name: value for name, value in model.params.items() if not name.startswith(("head.", "rate."))}
    recipe = Recipe(head="zero", step_size=0.05, steps_default=FRESH_STEPS, steps_max=FRESH_STEPS, views=model.recipe.views)
    return replace(model, params=params, recipe=recipe)


def digits(model: MetaModel, preprocessing: Preprocessing, folder: Path, episodes: int) -> list[dict[str, Any]]:
    """Judge 10-way tasks of MNIST digits, without retraining, beside what needs no meta-model."""
    seen, raw, fresh = mnist(folder, preprocessing), mnist(folder, as_they_are), fresh_head(model)
    ours, bare = pool(model, seen), pool(fresh, seen)
    rows = []
    for shape in cells((10,), ((1, 1), (5, 5), (10, 10), (1, 10)), queries=15):
        counts = step_counts(model)
        rows += [{"who": "the meta-model", **judge(model, ours, shape, steps=steps, episodes=episodes)} for steps in counts]
        rows.append({"who": "fresh linear head", **judge(fresh, bare, shape, steps=FRESH_STEPS, episodes=min(200, episodes))})
        rows.append({"who": "nearest mean of pixels", "cell": named(shape), "accuracy": round(nearest_mean(raw, shape, episodes), 5)})
    return rows


def milliseconds(model: MetaModel, classes: ClassInputs) -> dict[str, float]:
    """Give the median time of one adaptation and of one prediction on one core, without HTTP."""
    torch.set_num_threads(1)
    engine, generator = Engine(torch.device("cpu")), torch.Generator().manual_seed(SEED)
    found = {}
    for shape in USUAL:
        episode = sample_episode(classes, shape, generator)
        task = AdaptTask(episode.support, model.recipe.steps_default)
        found[f"adapt {named(shape)}"] = _median(partial(engine.adapt, model, [task]))
    (fitted,) = engine.adapt(model, [task])
    if not isinstance(fitted, Fitted):
        raise fitted
    asked = PredictTask(fitted.adapted.params, fitted.weights_digest, episode.queries[:1], 1)
    return {**found, "predict one": _median(lambda: engine.predict(model, [asked]))}


def _median(call: Callable[[], object]) -> float:
    spent = []
    for _ in range(40):
        started = time.perf_counter()
        call()
        spent.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(spent[5:]), 2)


def unseen_classes(subject: Subject, data_root: Path) -> Mapping[str, ClassInputs]:
    """Give the test classes of the meta-model's own split, upright and, for the split of Vinyals et al., turned ones among them."""
    data = OmniglotData(source="omniglot", split=subject.split, rotations=False)
    upright = load_data(data, subject.preprocessing, data_root=data_root)["test"]
    return {"upright": upright, **({"turned": upright.with_rotations()} if subject.split == "vinyals" else {})}


def main(
    model: str,
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    model_store: Path = Path("model_store"),
    episodes: int = 1_000,
) -> None:
    """Judge everything, in some minutes."""
    subject = find_subject(model_store, model)
    judged, parts = subject.stored.model, unseen_classes(subject, data_root)
    result: dict[str, Any] = {
        **subject.provenance,
        "torch": str(torch.__version__),
        "seed": SEED,
        "steps": judged.recipe.steps_default,
    }
    for name, classes in parts.items():
        prepared = pool(judged, classes)
        result[name] = omniglot(judged, prepared, episodes)
        if name == "upright":
            result["within one alphabet"] = within_alphabets(judged, prepared, episodes)
    result["views"] = views(judged, parts["upright"], episodes)
    result["mnist"] = digits(judged, subject.preprocessing, data_root / "mnist_t10k", episodes)
    result["milliseconds on one core"] = milliseconds(judged, parts["upright"])
    subject.results("accuracy").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    typer.echo("\n".join(_printed(result)))


def _printed(result: Mapping[str, Any]) -> Iterator[str]:
    """Lay the figures out as docs/results.md shows them."""
    for name in ("upright", "turned"):
        if name in result:
            yield from ("", f"{name}: accuracy, then calibration error, in percent", *_by_way(result[name], result["steps"]))
            yield from ("", f"{name}: inner steps", *_by_steps(result[name]))
    yield from ("", f"within one alphabet: {_percent(result['within one alphabet'])}")
    for count in dict.fromkeys(row["views"] for row in result["views"]):
        yield f"| {count} views | " + " | ".join(_percent(row) for row in result["views"] if row["views"] == count) + " |"
    ours = [row for row in result["mnist"] if row["who"] == "the meta-model"]
    yield from ("", "MNIST: inner steps", *_by_steps(ours))
    for row in result["mnist"]:
        if row not in ours:
            yield f"| {row['who']} | {row['cell']} | {100 * row['accuracy']:.2f} |"
    yield from ("", "milliseconds on one core", json.dumps(result["milliseconds on one core"]))


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f}"


def _by_way(rows: Sequence[Mapping[str, Any]], default: int) -> Iterator[str]:
    """Give a line for each way, at the default steps, its columns shots."""
    for way in WAYS:
        found = [row for row in rows if row["cell"].startswith(f"{way}w") and row["steps"] == default]
        yield f"| {way} | " + " | ".join(f"{_percent(row)} ({100 * row['calibration_error']:.1f})" for row in found) + " |"


def _by_steps(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give a line for each cell, its columns counts of steps."""
    yield "| cell | " + " | ".join(map(str, sorted({row["steps"] for row in rows}))) + " |"
    for cell in dict.fromkeys(row["cell"] for row in rows):
        yield f"| {cell} | " + " | ".join(_percent(row) for row in rows if row["cell"] == cell) + " |"


if __name__ == "__main__":
    typer.run(main)
