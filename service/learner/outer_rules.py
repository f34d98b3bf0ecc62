"""Outer rules: how the meta-gradient of one episode is made. The trainer averages them and takes the meta-step."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from service.learner import losses
from service.learner.encoders.encoder import Encoder
from service.learner.episodes import Episode
from service.learner.inner_loop import Start, inner_loop
from service.learner.meta_model import Encode, body_start, head_start
from service.learner.parameters import Params, gradients
from service.learner.recipe import Recipe

StepWeights = Literal["last", "first_and_last", "uniform"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one episode says: the meta-gradient, the query loss, and the query accuracy after the last step in 0..1."""

    gradients: Params
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class QueryGradient:
    """Differentiate the query loss by the initialisation.

    Attributes:
        order: 2 through the inner steps (MAML), 1 with the steps as constants (FOMAML, sections 5.2 of the paper).
        step_weights: which of the parameters along the inner loop the query loss is taken of.

    Source: Finn, Abbeel and Levine (2017), arXiv:1703.03400.
    """

    order: Literal[1, 2]
    step_weights: StepWeights = "last"

    def __call__(self, params: Params, recipe: Recipe, encoder: Encoder, encode: Encode, episode: Episode, steps: int) -> Outcome:
        """Give the meta-gradient of one episode after `steps` inner steps; `params` are leaves."""
        asked = [self._ask(start, seen, steps) for start, seen in _starts(params, recipe, encoder, encode, episode)]
        loss, accuracy = (torch.stack(values).mean() for values in zip(*asked, strict=True))
        return Outcome(gradients(loss, params), loss.item(), accuracy.item())

    def _ask(self, start: Start, episode: Episode, steps: int) -> tuple[Tensor, Tensor]:
        """Take the inner steps; give the query loss, and the query accuracy after the last step."""
        trail = [start.moved, *(step.moved for step in itertools.islice(inner_loop(start, order=self.order), steps))]
        logits = [start.logits(trail[index], episode.queries) for index in self._judged(steps)]
        weights = torch.full_like(logits[0][:, 0], 1 / len(episode.queries))
        loss = torch.stack([losses.cross_entropy(each, episode.query_labels, weights) for each in logits]).mean()
        return loss, losses.accuracy(logits[-1], episode.query_labels)

    def _judged(self, steps: int) -> list[int]:
        if self.step_weights == "uniform":
            return list(range(steps + 1))
        return sorted({0, steps}) if self.step_weights == "first_and_last" else [steps]


def _starts(params: Params, recipe: Recipe, encoder: Encoder, encode: Encode, episode: Episode) -> Iterator[tuple[Start, Episode]]:
    """Begin the inner loop of an episode, in each of its rounds; give it with the episode as its `logits` reads it."""
    if recipe.moves_body:
        for each in episode.rounds():
            yield body_start(encoder, recipe, params, encode, each.support), each
        return
    # One pass over the whole episode: support and queries share its statistics, as they will share the frozen ones.
    embeddings = encode(params, torch.cat([episode.support.inputs, episode.queries]))
    support, queries = torch.split(embeddings, [len(episode.support.labels), len(episode.query_labels)])
    for each in replace(episode, support=replace(episode.support, inputs=support), queries=queries).rounds():
        yield head_start(params, recipe, each.support), each
