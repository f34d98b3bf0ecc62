"""Every contender must compute what the reference computes: a benchmark of something else must fail loudly."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from service.learner import heads
from service.learner.episodes import Episode
from service.learner.meta_model import MetaModel, adapt
from service.learner.parameters import Params, moved_to

# Of the norm of the logits. Folded norms and other orders of sums differ by about 1e-6.
TOLERANCE = 1e-3
# Of what the steps change: the last of five, left out, changes some ten parts in a hundred.
OF_THE_MOVE = 0.02
# Drawings are solved at the prototypes, and steps then change nothing that float32 shows. Faded into their mean, they are not.
FADED = 0.8


class DisagreementError(RuntimeError):
    """A contender's adapted weights answer otherwise than the reference's."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The logits [M, way] of an episode's queries, after one-at-a-time adaptation by `service.learner.meta_model.adapt`."""

    model: MetaModel
    episode: Episode
    expected: Tensor
    allowed: float

    @classmethod
    def of(cls, model: MetaModel, episode: Episode, steps: int) -> "Reference":
        """Adapt to an episode as it is."""
        return cls(model, episode, _logits(model, adapt(model, episode.support, steps).params, episode.queries), TOLERANCE)

    @classmethod
    def telling(cls, model: MetaModel, episode: Episode, steps: int) -> "Reference":
        """Adapt to an episode whose steps matter; raises DisagreementError when they move too little to tell whether they were taken."""
        before, after = (_logits(model, adapt(model, episode.support, count).params, episode.queries) for count in (0, steps))
        move = gap_between(before, after)
        if move < TOLERANCE:
            raise DisagreementError(f"expected a task that {steps} steps move, but its logits moved by {move:.1e} of their norm")
        return cls(model, episode, after, min(TOLERANCE, OF_THE_MOVE * move))

    def demand(self, name: str, adapted: Params) -> float:
        """Give how far adapted parameters are from the reference, as a share of the norm of its logits.

        Raises:
            DisagreementError: a query gets another label, or its logits differ by more than is allowed.
        """
        found = _logits(self.model, moved_to(adapted, torch.device("cpu")), self.episode.queries)
        gap = gap_between(found, self.expected)
        if not gap <= self.allowed:
            raise DisagreementError(f"{name}: expected logits within {self.allowed:.1e} of the reference's norm, got {gap:.1e}")
        # Two classes that score alike may change places.
        best, second = self.expected.topk(2, dim=1).values.unbind(dim=1)
        clear = best - second > 2 * (found - self.expected).abs().amax()
        others = (found.argmax(dim=1) != self.expected.argmax(dim=1)) & clear
        if others.any():
            raise DisagreementError(f"{name}: expected the reference's labels, got {int(others.sum())} others of {len(found)}")
        return gap


def demand_all(name: str, adapted: Sequence[Params], references: Sequence[Reference]) -> float:
    """Give the largest distance from the references, task by task; raises DisagreementError as `Reference.demand` does."""
    return max(reference.demand(name, each) for each, reference in zip(adapted, references, strict=True))


def faded(episode: Episode) -> Episode:
    """Give an episode of pictures that look alike: each four parts the mean of the support set."""
    mean = episode.support.inputs.float().mean(dim=0)
    support, queries = (
        torch.lerp(inputs.float(), mean, FADED).round().to(inputs.dtype) for inputs in (episode.support.inputs, episode.queries)
    )
    return replace(episode, support=replace(episode.support, inputs=support), queries=queries)


def _logits(model: MetaModel, adapted: Params, queries: Tensor) -> Tensor:
    with torch.no_grad():
        return heads.logits(adapted, model.embed(queries, {**model.params, **adapted}), heads.scale(model.params))


def gap_between(found: Tensor, expected: Tensor) -> float:
    """Give how far a tensor is from the expected one, as a share of that one's norm."""
    return float((found - expected).norm() / expected.norm())
