"""Accuracy as served: episodes of unseen classes, every query judged alone with frozen statistics."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from service.learner import heads, losses
from service.learner.batched_heads import adapt_heads
from service.learner.episodes import ClassInputs, Episode, EpisodeShape, sample_episode
from service.learner.meta_model import Adapted, MetaModel, adapt

ENCODER_CHUNK = 256
TASK_CHUNK = 32


@dataclass(frozen=True, slots=True)
class Judged:
    """The mean accuracy over episodes (0..1) with the half-width of its 95 % confidence interval, and the mean query loss."""

    accuracy: float
    ci95: float
    loss: float


def evaluate(model: MetaModel, classes: ClassInputs, shape: EpisodeShape, *, steps: int, episodes: int, seed: int) -> Judged:
    """Judge a meta-model on sampled episodes.

    With frozen statistics an embedding does not depend on its batch, so a head-scope model embeds every image once;
    a test holds the outcome equal to adapting and asking one query at a time.

    Raises:
        ValueError: too few classes or images for the shape.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        pool = classes if model.recipe.moves_body else classes.replace_inputs(embed_all(model, classes.inputs))
        scores = torch.tensor([score for chunk in _chunks(pool, shape, episodes, generator) for score in _judge(model, chunk, steps)])
    accuracies = scores[:, 0]
    spread = accuracies.std().item() if episodes > 1 else math.nan
    return Judged(accuracies.mean().item(), 1.96 * spread / math.sqrt(episodes), scores[:, 1].mean().item())


def embed_all(model: MetaModel, inputs: Tensor) -> Tensor:
    """Embed any number of inputs [N, ...] in chunks: [N, D]."""
    return torch.cat([model.embed(chunk) for chunk in torch.split(inputs, ENCODER_CHUNK)])


def _chunks(pool: ClassInputs, shape: EpisodeShape, episodes: int, generator: torch.Generator) -> Iterator[list[Episode]]:
    for done in range(0, episodes, TASK_CHUNK):
        yield [sample_episode(pool, shape, generator) for _ in range(min(TASK_CHUNK, episodes - done))]


def _judge(model: MetaModel, chunk: list[Episode], steps: int) -> list[tuple[float, float]]:
    """Give (accuracy, loss) of each episode; pooled inputs are embeddings when the scope is `head`."""
    if model.recipe.moves_body:
        adapted = [adapt(model, episode.support, steps) for episode in chunk]
        chunk = [
            replace(episode, queries=model.embed(episode.queries, {**model.params, **each.params}))
            for episode, each in zip(chunk, adapted, strict=True)
        ]
    else:
        adapted = adapt_heads(model.params, model.recipe, [episode.support for episode in chunk], [steps] * len(chunk))
    return [_score(model, each, episode) for each, episode in zip(adapted, chunk, strict=True)]


def _score(model: MetaModel, adapted: Adapted, episode: Episode) -> tuple[float, float]:
    logits = heads.logits(adapted.params, episode.queries, heads.scale(model.params))
    weights = torch.full_like(logits[:, 0], 1 / len(logits))
    return losses.accuracy(logits, episode.query_labels).item(), losses.cross_entropy(logits, episode.query_labels, weights).item()
