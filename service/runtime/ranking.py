"""The likeliest classes of queries, for many sessions in one batched product."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from service.errors import UnusableVectorError
from service.learner import heads
from service.learner.neighbours import nearest
from service.learner.parameters import Params


@dataclass(frozen=True, slots=True)
class Asked:
    """Embedded queries [M, D] for a head of `way` classes, of which the `top` likeliest are wanted.

    The logits are divided by `temperature` before they become scores.
    """

    queries: Tensor
    way: int
    top: int
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Nearest:
    """The support examples nearest to each query: their places in the support set, nearest first, and their Euclidean distances."""

    places: list[list[int]]
    distances: list[list[float]]


@dataclass(frozen=True, slots=True)
class Ranked:
    """What is known of each query.

    Attributes:
        rows: of its likeliest classes, best first.
        scores: their probabilities.
        margins: how far the best score is above the next.
        distances: squared, from its nearest class; they mean something for a prototype head (see `heads.distances`).
        nearest: support examples, if they were asked for.
    """

    rows: list[list[int]]
    scores: list[list[float]]
    margins: list[float]
    distances: list[float]
    nearest: Nearest | None = None


@dataclass(frozen=True, slots=True)
class Estimated:
    """The numbers that a regression predicts for each query: [M, outputs]; and the nearest support examples, if they were asked for."""

    numbers: list[list[float]]
    nearest: Nearest | None = None


# What predicting gives for one request.
Found = Ranked | Estimated | UnusableVectorError


def estimate(head: Params, queries: Tensor, factor: Tensor) -> Estimated | UnusableVectorError:
    """Predict numbers for embedded queries [M, D]; numbers that overflow make an error of their request."""
    numbers = heads.logits(head, queries, factor)
    return Estimated(numbers.tolist()) if bool(numbers.isfinite().all()) else _unusable()


def with_nearest(found: Found, queries: Tensor, examples: Tensor, count: int) -> Found:
    """Add to what was found for embedded queries [M, D] the nearest of embedded examples [N, D]; distances that overflow are an error."""
    if isinstance(found, UnusableVectorError):
        return found
    places, distances = nearest(queries, examples, count)
    return replace(found, nearest=Nearest(places.tolist(), distances.tolist())) if bool(distances.isfinite().all()) else _unusable()


def rank(asked: Sequence[Asked], rows: Tensor, factor: Tensor) -> list[Ranked | UnusableVectorError]:
    """Rank the classes of every query; one whose scores overflow makes an error of its request.

    Temperatures change scores, never labels: the classes are ranked by logits.

    Args:
        asked: T requests.
        rows: their heads side by side [T, W, D + 1]; what lies after a head's own rows does not matter.
        factor: on the logits (see `heads.scale`).
    """
    queries = pad_sequence([each.queries for each in asked], batch_first=True)
    ways = torch.tensor([each.way for each in asked], device=rows.device)
    absent = (torch.arange(rows.shape[1], device=rows.device) >= ways.unsqueeze(1)).unsqueeze(1)
    logits = heads.logits({"head.weight": rows[..., :-1], "head.bias": rows[..., -1]}, queries, factor).masked_fill(absent, 0)
    usable = logits.isfinite().all(dim=2).all(dim=1).tolist()
    present = logits.masked_fill(absent, -torch.inf)
    temperatures = torch.tensor([each.temperature for each in asked], device=rows.device).view(-1, 1, 1)
    # Two at least, for the margin: a head has two classes or more.
    best, classes = present.topk(min(max(2, *(each.top for each in asked)), rows.shape[1]), dim=2)
    scores = (present / temperatures).softmax(dim=2).gather(2, classes)
    distances = heads.distances(best[..., 0], queries, factor)
    margins = scores[..., 0] - scores[..., 1]
    found = zip(asked, classes.tolist(), scores.tolist(), margins.tolist(), distances.tolist(), usable, strict=True)
    return [
        _ranked(each, own_classes, own_scores, own_margins, own_distances) if fine else _unusable()
        for each, own_classes, own_scores, own_margins, own_distances, fine in found
    ]


def _ranked(asked: Asked, classes: list[list[int]], scores: list[list[float]], margins: list[float], distances: list[float]) -> Ranked:
    """Cut what was padded."""
    count, top = len(asked.queries), min(asked.top, asked.way)
    return Ranked([row[:top] for row in classes[:count]], [row[:top] for row in scores[:count]], margins[:count], distances[:count])


def _unusable() -> UnusableVectorError:
    return UnusableVectorError("a query's numbers are so large that its scores became NaN or infinite; scale them down", field="queries")
