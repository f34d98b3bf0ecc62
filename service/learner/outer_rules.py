"""Outer rules: how the meta-gradient of one episode is made. The trainer averages them and takes the meta-step."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from service.learner import losses
from service.learner.conjugate_gradient import conjugate_gradient
from service.learner.episodes import Episode
from service.learner.inner_loop import Order, Start, inner_loop
from service.learner.parameters import Params, gradients, trainable
from service.learner.recipe import Recipe
from service.learner.starts import Learner, body_start, head_start

StepWeights = Literal["last", "first_and_last", "uniform", "annealed"]

# MAML++ trusts the last step alone after a tenth of the training (15 of 150 epochs).
ANNEALED_AFTER = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one episode says: the meta-gradient, the query loss, and the query accuracy after the last step, 0..1; NaN for a regression."""

    gradients: Params
    loss: float
    accuracy: float


class OuterRule(Protocol):
    """Gives the meta-gradient of one episode after `steps` inner steps; `progress` is the share of the training that is done, 0..1."""

    def __call__(self, learner: Learner, episode: Episode, steps: int, *, progress: float) -> Outcome: ...

    def require_fitting(self, recipe: Recipe) -> None:
        """Refuse a recipe that it has no meta-gradient for; raises ValueError."""
        ...


@dataclass(frozen=True, slots=True)
class QueryGradient:
    """Differentiate the query loss by the initialisation.

    Attributes:
        order: 2 through the inner steps (MAML), 1 with the steps as constants (FOMAML, section 5.2 of the paper).
        step_weights: which of the parameters along the inner loop the query loss is taken of. `annealed` begins with all steps
            alike and ends with the last one (MAML++, section 4, multi-step loss).
        first_order_until: share of the training that takes the first order whatever `order` says (MAML++, derivative-order annealing).

    Sources: Finn, Abbeel and Levine (2017), arXiv:1703.03400; Antoniou, Edwards and Storkey (2019), arXiv:1810.09502.
    """

    order: Literal[1, 2]
    step_weights: StepWeights = "last"
    first_order_until: float = 0.0

    def __call__(self, learner: Learner, episode: Episode, steps: int, *, progress: float) -> Outcome:
        order: Order = 1 if progress < self.first_order_until else self.order
        counts = self._counts(steps, progress)
        asked = [_ask(learner.recipe, start, seen, counts, order) for start, seen in _starts(learner, episode)]
        loss, accuracy = (torch.stack(values).mean() for values in zip(*asked, strict=True))
        return Outcome(gradients(loss, learner.params), loss.item(), accuracy.item())

    def require_fitting(self, recipe: Recipe) -> None:
        if recipe.optimiser == "adam" and self.order == 2:
            raise ValueError(
                "adam's root has no slope at zero, so the second order cannot pass it; use optimiser `sgd`, or a preset of the first order"
            )

    def _counts(self, steps: int, progress: float) -> list[float]:
        """Give what the query loss before the first step, and after each, counts; they sum to one."""
        if self.step_weights == "uniform":
            return [1 / (steps + 1)] * (steps + 1)
        if self.step_weights == "annealed" and steps:
            early = max(0.0, 1 - progress / ANNEALED_AFTER) / steps
            return [0.0, *[early] * (steps - 1), 1 - early * (steps - 1)]
        both = self.step_weights == "first_and_last" and steps > 0
        return [0.5, *[0.0] * (steps - 1), 0.5] if both else [*[0.0] * steps, 1.0]


@dataclass(frozen=True, slots=True)
class ImplicitGradient:
    """Differentiate the query loss by the initialisation through where the inner loop ends, whatever way it took there.

    With λ the recipe's proximal weight and H the Hessian of the support loss there, the meta-gradient is (I + H/λ)⁻¹ times the
    slope of the query loss, found by conjugate gradients.

    Source: Rajeswaran, Finn, Kakade and Levine (2019), Meta-learning with implicit gradients, arXiv:1909.04630, Algorithm 2.
    """

    solver_steps: int = 5

    def require_fitting(self, recipe: Recipe) -> None:
        if not recipe.proximal or recipe.learn_rates:
            raise ValueError(
                "an implicit gradient holds where the proximal term keeps the inner loop, and says nothing of step sizes;"
                f" expected proximal > 0 and learn_rates = false, got {recipe.proximal} and {recipe.learn_rates}"
            )

    def __call__(self, learner: Learner, episode: Episode, steps: int, *, progress: float) -> Outcome:  # noqa: ARG002 - one call for all
        asked = [self._ask(learner, start, seen, steps) for start, seen in _starts(learner, episode)]
        return _mean_outcome(asked, learner.params)

    def _ask(self, learner: Learner, start: Start, episode: Episode, steps: int) -> Outcome:
        ended = trainable(_last(start, steps))
        loss, accuracy = _judge(learner.recipe, start, ended, episode)
        slopes = torch.autograd.grad(loss, [*ended.values(), *learner.params.values()], allow_unused=True, materialize_grads=True)
        own, direct = _flat(slopes[: len(ended)]), slopes[len(ended) :]
        with torch.enable_grad():
            slope = _flat(torch.autograd.grad(start.loss(ended), list(ended.values()), create_graph=True, materialize_grads=True))

        def curved(direction: Tensor) -> Tensor:
            product = torch.autograd.grad(slope, list(ended.values()), direction, retain_graph=True, materialize_grads=True)
            return direction + _flat(product) / learner.recipe.proximal

        solved = conjugate_gradient(curved, own, steps=self.solver_steps)
        sizes = [value.numel() for value in ended.values()]
        parts = [part.view_as(value) for part, value in zip(torch.split(solved, sizes), ended.values(), strict=True)]
        # From where the inner loop starts to what was learned: themselves, or prototypes of the body.
        through = _pulled_back(start.moved, parts, learner.params)
        return Outcome({name: through[name] + own for name, own in zip(learner.params, direct, strict=True)}, loss.item(), accuracy.item())


@dataclass(frozen=True, slots=True)
class Displacement:
    """Move the initialisation towards where the inner loop ends: the meta-gradient is the way back from there.

    Source: Nichol, Achiam and Schulman (2018), On first-order meta-learning algorithms (Reptile), arXiv:1803.02999, Algorithm 1.
    """

    def require_fitting(self, recipe: Recipe) -> None:
        if recipe.head not in ("per_class", "output") or recipe.learn_rates:
            raise ValueError(
                "a displacement moves what the inner loop starts from, so the head must have learned rows and the step sizes be given;"
                f" expected head `per_class` or `output` and learn_rates = false, got {recipe.head!r} and {recipe.learn_rates}"
            )

    def __call__(self, learner: Learner, episode: Episode, steps: int, *, progress: float) -> Outcome:  # noqa: ARG002 - one call for all
        asked = [self._ask(learner, start, seen, steps) for start, seen in _starts(learner, episode)]
        return _mean_outcome(asked, learner.params)

    def _ask(self, learner: Learner, start: Start, episode: Episode, steps: int) -> Outcome:
        with torch.no_grad():
            ended = _last(start, steps)
            loss, accuracy = _judge(learner.recipe, start, ended, episode)
            back = {name: value - ended[name] for name, value in start.moved.items()}
            zeros = {name: torch.zeros_like(value) for name, value in learner.params.items()}
        return Outcome({**zeros, **{name: value.detach() for name, value in back.items() if name in zeros}}, loss.item(), accuracy.item())


def _ask(recipe: Recipe, start: Start, episode: Episode, counts: Sequence[float], order: Order) -> tuple[Tensor, Tensor]:
    """Take an inner step for each count but the first; give the query loss, and the query accuracy after the last step."""
    trail = [start.moved, *(step.moved for step in itertools.islice(inner_loop(start, order=order), len(counts) - 1))]
    judged = [(count, *_judge(recipe, start, moved, episode)) for count, moved in zip(counts, trail, strict=True) if count]
    return torch.stack([count * loss for count, loss, _ in judged]).sum(), judged[-1][2]


def _judge(recipe: Recipe, start: Start, moved: Params, episode: Episode) -> tuple[Tensor, Tensor]:
    """Give the query loss and accuracy of some moved parameters."""
    answers = start.logits(start.conclude(moved), episode.queries)
    weights = torch.full_like(answers[:, 0], 1 / len(answers))
    loss = losses.task_loss(recipe, answers, episode.query_labels, weights)
    return loss, answers.new_tensor(torch.nan) if recipe.regression else losses.accuracy(answers, episode.query_labels)


def _last(start: Start, steps: int) -> Params:
    return next(itertools.islice(inner_loop(start), steps - 1, None)).moved if steps else start.moved


def _mean_outcome(outcomes: Sequence[Outcome], names: Params) -> Outcome:
    found = {name: torch.stack([each.gradients[name] for each in outcomes]).mean(dim=0) for name in names}
    count = len(outcomes)
    return Outcome(found, sum(each.loss for each in outcomes) / count, sum(each.accuracy for each in outcomes) / count)


def _flat(values: Sequence[Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in values])


def _pulled_back(made: Params, slopes: Sequence[Tensor], params: Params) -> dict[str, Tensor]:
    """Give the slopes of learned parameters from those of what was made of them."""
    pairs = [(value, slope) for value, slope in zip(made.values(), slopes, strict=True) if value.requires_grad]
    found = torch.autograd.grad(
        [value for value, _ in pairs], list(params.values()), [slope for _, slope in pairs], allow_unused=True, materialize_grads=True
    )
    return dict(zip(params, found, strict=True))


def _starts(learner: Learner, episode: Episode) -> Iterator[tuple[Start, Episode]]:
    """Begin the inner loop of an episode, in each of its rounds; give it with the episode as its `logits` reads it."""
    params, recipe = learner.params, learner.recipe
    if recipe.moves_body:
        for each in episode.rounds():
            yield body_start(learner, each.support), each
        return
    # One pass over the whole episode: support and queries share its statistics, as they will share the frozen ones.
    embeddings = learner.encode(params, torch.cat([episode.support.inputs, episode.queries]), None)
    support, queries = torch.split(embeddings, [len(episode.support.labels), len(episode.query_labels)])
    for each in replace(episode, support=replace(episode.support, inputs=support), queries=queries).rounds():
        yield head_start(params, recipe, each.support), each
