"""The meta-model `vectors` beside scikit-learn's classifiers, on real tables of a few rows: iris, wine, breast cancer, digits.

Usage: python -m benchmarks.tables [--episodes 200]
All judge the same episodes, all of a table's classes in each, and answer one query at a time; scikit-learn's standardise by the same
support set. The tables come with scikit-learn. Rows of invented validation tables, 5 classes at a time, are those that the head was
chosen by. Writes benchmarks/results/tables-<version>.json and prints the table of docs/results.md.
"""

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import sklearn
import torch
import typer
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from benchmarks.subject import RESULTS, SEED, processor
from service.learner import losses
from service.learner.episodes import ClassInputs, Episode, EpisodeShape, sample_episode
from service.learner.meta_model import adapt, answer
from service.registry.read import Stored, find
from service.training.sources.load import SEEDS
from service.training.sources.tables import Tables

REAL: Mapping[str, Callable[..., Any]] = {
    "iris": load_iris, "wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits,
}  # fmt: skip
INVENTED, INVENTED_WAY = "invented validation tables", 5
SHOTS = (1, 5, 10)
QUERIES = 15

# The scores [M, way] of an episode's queries; without probabilities, one for the class that is answered.
Judge = Callable[[Episode], Tensor]


@dataclass(frozen=True, slots=True)
class Contender:
    """Who answers, whether its scores are probabilities, and with how many examples of a class at least."""

    judge: Judge
    scored: bool
    least: int = 1


def ours(stored: Stored) -> Judge:
    """Answer as the server does."""

    def judge(episode: Episode) -> Tensor:
        adapted, shots = adapt(stored.model, episode.support, 0).params, episode.support.labels.bincount().tolist()
        logits = torch.cat([answer(stored.model, adapted, query.unsqueeze(0)) for query in episode.queries])
        return (logits / stored.manifest.temperature(shots, 0)).softmax(dim=1)

    return judge


def theirs(make: Callable[[], Any], *, scored: bool) -> Judge:
    """Answer by a classifier of scikit-learn's, on columns that the support set standardises."""

    def judge(episode: Episode) -> Tensor:
        fitted = make_pipeline(StandardScaler(), make()).fit(episode.support.inputs.double().numpy(), episode.support.labels.numpy())
        rows = [query.double().numpy()[None] for query in episode.queries]
        if scored:
            return torch.from_numpy(np.concatenate([fitted.predict_proba(row) for row in rows]))
        return F.one_hot(torch.from_numpy(np.concatenate([fitted.predict(row) for row in rows])), episode.support.way).double()

    return judge


def contenders(stored: Stored) -> dict[str, Contender]:
    """Give everybody by name; scikit-learn's as it comes, but for the shrinkage without which few rows have no discriminant."""
    shrunk = {"solver": "lsqr", "shrinkage": "auto"}
    return {
        f"`vectors@{stored.manifest.version}`": Contender(ours(stored), scored=True),
        "logistic regression": Contender(theirs(lambda: LogisticRegression(max_iter=1000), scored=True), scored=True),
        "linear discriminant, Ledoit-Wolf": Contender(
            theirs(lambda: LinearDiscriminantAnalysis(**shrunk), scored=True), scored=True, least=2
        ),
        "ridge onto the labels": Contender(theirs(RidgeClassifier, scored=False), scored=False),
        "nearest centroid": Contender(theirs(NearestCentroid, scored=False), scored=False),
    }


def real(load: Callable[..., Any], width: int) -> ClassInputs:
    """Give a table of scikit-learn's by class, with zeros behind its columns."""
    rows, labels = load(return_X_y=True)
    inputs = F.pad(torch.from_numpy(rows).float(), (0, width - rows.shape[1]))
    return ClassInputs.of([(str(label), inputs[torch.from_numpy(labels == label)]) for label in np.unique(labels)])


def episodes_of(name: str, shot: int, stored: Stored, *, episodes: int) -> Iterator[Episode]:
    """Draw tasks of a table."""
    width, generator = stored.model.encoder.embedding, torch.Generator().manual_seed(SEED)
    if name == INVENTED:
        tables = Tables(width, tuple(stored.manifest.training.config["data"]["columns"]), SEEDS["validation"])
        yield from (tables.episode(EpisodeShape(INVENTED_WAY, (shot, shot), QUERIES), generator) for _ in range(episodes))
        return
    classes = real(REAL[name], width)
    for _ in range(episodes):
        yield sample_episode(classes, EpisodeShape(len(classes), (shot, shot), QUERIES), generator)


def row(who: str, contender: Contender, drawn: list[Episode]) -> dict[str, Any]:
    """Judge one contender in one cell: mean accuracy, 95 % confidence interval, calibration error of scores."""
    told = [contender.judge(episode) for episode in drawn]
    right = [scores.argmax(dim=1) == episode.query_labels for scores, episode in zip(told, drawn, strict=True)]
    each = torch.stack([one.double().mean() for one in right])
    error = losses.calibration_error(torch.cat([scores.amax(dim=1) for scores in told]), torch.cat(right)) if contender.scored else None
    return {
        "who": who,
        "accuracy": round(each.mean().item(), 5),
        "ci95": round(1.96 * each.std().item() / math.sqrt(len(each)), 5),
        "calibration_error": None if error is None else round(float(error), 5),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table of accuracies, a cell a row, the calibration error in brackets."""
    everybody = list(dict.fromkeys(each["who"] for each in rows))
    typer.echo(f"| table | shot | {' | '.join(everybody)} |\n| --- | ---: |{' --- |' * len(everybody)}")
    for data, shot in dict.fromkeys((each["data"], each["shot"]) for each in rows):
        own = {each["who"]: _said(each) for each in rows if (each["data"], each["shot"]) == (data, shot)}
        typer.echo(f"| {data} | {shot} | {' | '.join(own.get(who, '–') for who in everybody)} |")


def _said(found: dict[str, Any]) -> str:
    error = "" if found["calibration_error"] is None else f" ({100 * found['calibration_error']:.0f})"
    return f"{100 * found['accuracy']:.1f} ± {100 * found['ci95']:.1f}{error}"


def main(episodes: Annotated[int, typer.Option(min=2, help="Of each cell.")] = 200, model_store: Path = Path("model_store")) -> None:
    """Judge all, write and print."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of classes with one example, which scikit-learn's discriminant finds worth a word
    stored, rows = find(model_store, "vectors"), []
    for name in (*REAL, INVENTED):
        for shot in SHOTS:
            drawn = list(episodes_of(name, shot, stored, episodes=episodes))
            rows += [
                {"data": name, "shot": shot, **row(who, each, drawn)} for who, each in contenders(stored).items() if shot >= each.least
            ]
    provenance = {"model": f"vectors@{stored.manifest.version}", "weights_sha256": stored.manifest.weights.sha256}
    setting = {"torch": str(torch.__version__), "scikit-learn": sklearn.__version__, "processor": processor(), "seed": SEED}
    result = {**provenance, **setting, "episodes": episodes, "queries_per_class": QUERIES, "rows": rows}
    (RESULTS / f"tables-{stored.manifest.version}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    typer.run(main)
