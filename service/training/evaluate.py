"""Accuracy as served: episodes of unseen classes, every query judged alone with frozen statistics."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from service.learner import heads, losses
from service.learner.batched_heads import adapt_heads
from service.learner.calibration import Calibration
from service.learner.episodes import ClassInputs, Episode, EpisodeShape, Support, sample_episode
from service.learner.meta_model import Adapted, MetaModel, adapt, stepped
from service.learner.recipe import Recipe
from service.learner.starts import head_start
from service.learner.task_batch import TaskBatch
from service.learner.views import view
from service.training.sources.tables import Tables

ENCODER_CHUNK = 256
TASK_CHUNK = 32


@dataclass(frozen=True, slots=True)
class Judged:
    """What episodes of unseen classes say of a meta-model.

    Attributes:
        accuracy: its mean over episodes, 0..1.
        ci95: half-width of the mean's 95 % confidence interval.
        loss: mean query loss.
        calibration_error: expected calibration error of the top label, over all queries, 0..1.
    """

    accuracy: float
    ci95: float
    loss: float
    calibration_error: float

    @property
    def score(self) -> float:
        """What validation compares, larger is better."""
        return self.accuracy

    def curves(self) -> dict[str, float]:
        """What is followed over a run."""
        return {"accuracy": self.accuracy, "loss": self.loss, "calibration_error": self.calibration_error}

    def __str__(self) -> str:
        return f"accuracy {self.accuracy:.2%} ± {self.ci95:.2%}, loss {self.loss:.4f}"


@dataclass(frozen=True, slots=True)
class Pool:
    """Unseen classes as a meta-model sees them, to sample episodes of.

    Attributes:
        rows: the classes; their inputs are row numbers [N] of the tensors below.
        support: each input as a support example, [N, views, D] embeddings; inputs [N, 1, ...] when the inner loop moves the body.
        queries: each input as a query, [N, D] embeddings, or inputs [N, ...].
        calibration: how the meta-model's scores are calibrated; None leaves them as they are.
    """

    rows: ClassInputs
    support: Tensor
    queries: Tensor
    calibration: Calibration | None = None

    @property
    def views(self) -> int:
        """How often an episode has each example."""
        return self.support.shape[1]

    def allows(self, way: int) -> bool:
        """Whether there are so many classes."""
        return way <= len(self.rows)

    def within(self, at_least: int) -> "Pool":
        """Keep the classes of groups of at least so many; raises ValueError when there are none."""
        return replace(self, rows=self.rows.in_large_groups(at_least))

    def episode(self, shape: EpisodeShape, generator: torch.Generator) -> Episode:
        """Sample an episode whose support set has every view of every example."""
        drawn = sample_episode(self.rows, shape, generator)
        examples = self.support[drawn.support.inputs]
        support = Support(examples.transpose(0, 1).flatten(0, 1), drawn.support.labels.repeat(examples.shape[1]), drawn.support.way)
        return Episode(support, self.queries[drawn.queries], drawn.query_labels)


@dataclass(frozen=True, slots=True)
class EndlessPool:
    """Tables as a meta-model sees them, to draw episodes of: like `Pool`, but every one is of classes of its own."""

    model: MetaModel
    tables: Tables
    calibration: Calibration | None = None
    views: ClassVar[int] = 1

    def allows(self, way: int) -> bool:  # noqa: ARG002 - there are always more
        """Whether there are so many classes."""
        return True

    def episode(self, shape: EpisodeShape, generator: torch.Generator) -> Episode:
        """Draw an episode, its inputs as the inner loop takes them."""
        drawn, model = self.tables.episode(shape, generator), self.model
        if model.recipe.moves_body:
            return drawn
        return replace(drawn, support=replace(drawn.support, inputs=model.embed(drawn.support.inputs)), queries=model.embed(drawn.queries))


def fitting_shapes(
    classes: ClassInputs | Tables, recipe: Recipe, ways: Sequence[int], shots: Sequence[tuple[int, int]], *, queries: int
) -> list[EpisodeShape]:
    """Give the kinds of episode that the classes and the head allow, way by way; a range of shots is drawn from for each class."""
    allowed, most = ways if recipe.way is None else (recipe.way,), math.inf
    if isinstance(classes, ClassInputs):
        most = min(map(classes.size, range(len(classes)))) - queries
        allowed = [way for way in allowed if way <= len(classes)]
    return [EpisodeShape(way, shot, queries, uneven=shot[0] < shot[1]) for way, shot in product(allowed, shots) if shot[1] <= most]


def prepared(model: MetaModel, tasks: ClassInputs | Tables, calibration: Calibration | None = None) -> Pool | EndlessPool:
    """Prepare classes or tables for `evaluate`."""
    return EndlessPool(model, tasks, calibration) if isinstance(tasks, Tables) else pool(model, tasks, calibration)


@torch.no_grad()
def pool(model: MetaModel, classes: ClassInputs, calibration: Calibration | None = None) -> Pool:
    """Prepare classes for `evaluate`.

    With frozen statistics an embedding does not depend on its batch, so a head-scope model embeds every image once, each
    of its views too; a test holds the outcome equal to adapting and asking one query at a time.
    """
    rows = classes.replace_inputs(torch.arange(len(classes.inputs)))
    if model.recipe.moves_body:
        return Pool(rows, classes.inputs.unsqueeze(1), classes.inputs, calibration)
    views = [embed_all(model, classes.inputs, index) for index in range(model.recipe.views)]
    return Pool(rows, torch.stack(views, dim=1), views[0], calibration)


@torch.no_grad()
def embed_all(model: MetaModel, inputs: Tensor, view_index: int = 0) -> Tensor:
    """Embed a view of any number of inputs [N, ...] in chunks: [N, D]; view 0 is the inputs themselves."""
    return torch.cat([model.embed(view(chunk, view_index)) for chunk in torch.split(inputs, ENCODER_CHUNK)])


@torch.no_grad()
def evaluate(model: MetaModel, pool: Pool | EndlessPool, shape: EpisodeShape, *, steps: int, episodes: int, seed: int) -> Judged:
    """Judge a meta-model on episodes sampled from a pool made for it.

    Raises:
        ValueError: too few classes or images for the shape.
    """
    judged = [
        _judged(each.calibrated(pool.calibration, steps), each.labels)
        for each in answers(model, pool, shape, steps=steps, episodes=episodes, seed=seed)
    ]
    accuracies = torch.stack([each.correct.float().mean() for each in judged])
    spread = accuracies.std().item() if episodes > 1 else math.nan
    return Judged(
        accuracy=accuracies.mean().item(),
        ci95=1.96 * spread / math.sqrt(episodes),
        loss=sum(each.loss for each in judged) / episodes,
        calibration_error=losses.calibration_error(
            torch.cat([each.scores for each in judged]), torch.cat([each.correct for each in judged])
        ),
    )


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to one episode's queries: logits [M, way], what would be right [M], and the support examples of each class."""

    logits: Tensor
    labels: Tensor
    shots: tuple[int, ...]

    def calibrated(self, calibration: Calibration | None, steps: int) -> Tensor:
        """Give the logits as the server scores by them."""
        return self.logits if calibration is None else self.logits / calibration.temperature(self.shots, steps)


@torch.no_grad()
def answers(model: MetaModel, pool: Pool | EndlessPool, shape: EpisodeShape, *, steps: int, episodes: int, seed: int) -> Iterator[Answers]:
    """Sample episodes and answer their queries, uncalibrated; raises as `evaluate` does."""
    generator = torch.Generator().manual_seed(seed)
    for done in range(0, episodes, TASK_CHUNK):
        chunk = [pool.episode(shape, generator) for _ in range(min(TASK_CHUNK, episodes - done))]
        for episode, logits in zip(chunk, _logits(model, chunk, steps), strict=True):
            shots = episode.support.labels.bincount(minlength=episode.support.way) // pool.views
            yield Answers(logits, episode.query_labels, tuple(shots.tolist()))


def _logits(model: MetaModel, chunk: list[Episode], steps: int) -> list[Tensor]:
    """Adapt to each episode and answer its queries; a pool of a head-scope model holds embeddings."""
    if model.recipe.moves_body:
        return [_body_logits(model, episode, steps) for episode in chunk]
    if not model.recipe.closed_form:
        return [_stepped_logits(model, episode, steps) for episode in chunk]
    adapted = adapt_heads(model.params, model.recipe, TaskBatch.of([episode.support for episode in chunk]), [steps] * len(chunk))
    return [_head_logits(model, each, episode.queries) for each, episode in zip(adapted, chunk, strict=True)]


def _body_logits(model: MetaModel, episode: Episode, steps: int) -> Tensor:
    adapted = adapt(model, episode.support, steps)
    return _head_logits(model, adapted, model.embed(episode.queries, {**model.params, **adapted.params}))


def _stepped_logits(model: MetaModel, episode: Episode, steps: int) -> Tensor:
    return _head_logits(model, stepped(head_start(model.params, model.recipe, episode.support), steps), episode.queries)


def _head_logits(model: MetaModel, adapted: Adapted, embeddings: Tensor) -> Tensor:
    return heads.logits(adapted.params, embeddings, heads.scale(model.params))


@dataclass(frozen=True, slots=True)
class _Scored:
    """The top label's score of each query [M], whether it is right [M], and their mean loss."""

    scores: Tensor
    correct: Tensor
    loss: float


def _judged(logits: Tensor, labels: Tensor) -> _Scored:
    scores, rows = logits.softmax(dim=1).max(dim=1)
    weights = torch.full_like(scores, 1 / len(scores))
    return _Scored(scores, rows == labels, losses.cross_entropy(logits, labels, weights).item())
