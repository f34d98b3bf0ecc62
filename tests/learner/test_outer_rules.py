import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.encoder import Encoder
from service.learner.encoders.mlp import Mlp
from service.learner.episodes import Episode
from service.learner.meta_model import MetaModel, adapt, initial_params, predict
from service.learner.outer_rules import Outcome, QueryGradient, StepWeights
from service.learner.parameters import Params, trainable
from service.learner.recipe import Recipe
from service.learner.statistics import episode_statistics
from tests.learner.tasks import distance, double, double_episode, random_episode

SHOTS = (1, 3, 2)
QUERIES = 2

VECTORS = Mlp(inputs=5, width=6, activation="softplus")
PLAIN = Conv4(width=4, size=16, norm="none", activation="softplus")
GROUP = Conv4(width=4, size=20, norm="group", groups=2, activation="softplus")
BATCH = Conv4(width=4, size=16, norm="batch", activation="softplus", projection=5)

PER_CLASS = Recipe(scope="all", head="per_class", way=3, step_size=0.3, steps_max=9)
PROTOTYPE = Recipe(scope="all", head="prototype", step_size=0.05, steps_max=9)
LEARNED = Recipe(scope="head", head="prototype", rates="per_layer", learn_rates=True, step_size=2.0, steps_max=9)


@dataclass(frozen=True, slots=True)
class Case:
    """One meta-gradient: what is adapted, how, and for how many steps."""

    encoder: Encoder
    recipe: Recipe
    steps: int = 2
    step_weights: StepWeights = "last"

    def params(self) -> dict[str, Tensor]:
        """Parameters in float64, the head's rows not at zero, where too much would cancel."""
        generator = torch.Generator().manual_seed(4)
        params = double(initial_params(self.encoder, self.recipe, generator))
        noise = {name: torch.randn(value.shape, generator=generator, dtype=torch.float64) for name, value in params.items()}
        return {name: value + 0.2 * noise[name] for name, value in params.items()}

    def episode(self) -> Episode:
        return double_episode(random_episode(self.encoder.input_shape, SHOTS, QUERIES, torch.Generator().manual_seed(5)))

    def outcome(self, params: Params, order: int) -> Outcome:
        rule = QueryGradient(2 if order == 2 else 1, self.step_weights)
        return rule(trainable(params), self.recipe, self.encoder, self.encode, self.episode(), self.steps)

    def encode(self, params: Params, inputs: Tensor) -> Tensor:
        return self.encoder(params, inputs, episode_statistics)

    def slope(self, params: Params, name: str, direction: Tensor) -> float:
        """The derivative of the query loss along a direction of one parameter, by a central difference."""
        reach = 1e-5
        ahead, behind = ({**params, name: params[name] + sign * reach * direction} for sign in (1, -1))
        return (self.outcome(ahead, 1).loss - self.outcome(behind, 1).loss) / (2 * reach)


CASES = {
    "all, per_class, mlp": Case(VECTORS, PER_CLASS, steps=3),
    "all, per_class, conv4": Case(GROUP, PER_CLASS),
    "all, prototype, conv4": Case(GROUP, PROTOTYPE),
    "all, prototype, no norm": Case(PLAIN, PROTOTYPE),
    "all, prototype, learned rates": Case(VECTORS, Recipe(scope="all", rates="one", learn_rates=True, step_size=0.05), steps=3),
    "body, prototype": Case(VECTORS, Recipe(scope="body", step_size=0.05), steps=3),
    "last_block, prototype": Case(GROUP, Recipe(scope="last_block", step_size=0.05)),
    "head, learned rates, conv4": Case(PLAIN, LEARNED, steps=3),
    "head, learned rates, group norm": Case(GROUP, LEARNED, steps=3, step_weights="first_and_last"),
    "head, learned rates, batch norm": Case(BATCH, LEARNED, steps=3, step_weights="first_and_last"),
    "all, zero": Case(VECTORS, Recipe(scope="all", head="zero", step_size=0.3, steps_default=2, steps_max=9), steps=3),
    "head, zero": Case(VECTORS, Recipe(scope="head", head="zero", step_size=0.3, steps_max=9), steps=3),
    "every step is judged": Case(VECTORS, PER_CLASS, steps=3, step_weights="uniform"),
}


@pytest.mark.parametrize("which", CASES)
def test_the_second_order_meta_gradient_is_the_derivative_of_the_query_loss(which: str) -> None:
    """Central differences in float64 along two random directions of every parameter; smooth activation."""
    case, generator = CASES[which], torch.Generator().manual_seed(6)
    params = case.params()
    outcome = case.outcome(params, 2)
    assert outcome.gradients.keys() == params.keys()
    size = torch.cat([value.flatten() for value in outcome.gradients.values()]).norm().item()
    for name, gradient in outcome.gradients.items():
        for _ in range(2):
            direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
            found = float((gradient * direction).sum())
            assert found == pytest.approx(case.slope(params, name, direction), rel=1e-5, abs=1e-7 * size), name


@pytest.mark.parametrize("which", CASES)
def test_the_first_order_meta_gradient_differs_from_the_second(which: str) -> None:
    first, second = (CASES[which].outcome(CASES[which].params(), order) for order in (1, 2))
    assert first.loss == pytest.approx(second.loss, rel=1e-9)
    assert distance(*(torch.cat([each.gradients[name].flatten() for name in second.gradients]) for each in (first, second))) > 1e-3


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("which", [which for which, case in CASES.items() if case.encoder.norm != "batch"])
def test_training_takes_the_very_steps_that_serving_takes(which: str, order: int) -> None:
    """Also where the head was made from the body that moves: the steps follow partial derivatives, as they do when serving."""
    case = replace(CASES[which], step_weights="last")
    params, episode = case.params(), case.episode()
    model = MetaModel(case.encoder, case.recipe, params, {})
    answer = predict(model, adapt(model, episode.support, case.steps).params, episode.queries)
    assert case.outcome(params, order).loss == pytest.approx(F.nll_loss(answer.log(), episode.query_labels).item(), rel=1e-9)


def test_the_first_order_meta_gradient_of_maml_is_the_gradient_at_the_adapted_parameters() -> None:
    """Finn et al. (2017), section 5.2: the same gradient, taken at the end of the inner loop."""
    case = CASES["all, per_class, conv4"]
    params, episode = case.params(), case.episode()
    moved = trainable({**params, **adapt(MetaModel(case.encoder, case.recipe, params, {}), episode.support, case.steps).params})
    embeddings = case.encode(moved, episode.queries)
    loss = F.cross_entropy(embeddings @ moved["head.weight"].T + moved["head.bias"], episode.query_labels)
    expected = dict(zip(moved, torch.autograd.grad(loss, list(moved.values())), strict=True))
    got = case.outcome(params, 1)
    assert got.loss == pytest.approx(loss.item(), rel=1e-12)
    for name, gradient in expected.items():
        assert distance(got.gradients[name], gradient) < 1e-9, name


def maml_by_hand(params: Params, episode: Episode, *, rate: float, steps: int, order: int) -> tuple[dict[str, Tensor], float]:
    """MAML written again, on its own: a two-layer perceptron, `torch.func`, class means by a loop."""

    def forward(weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
        for layer in ("encoder.layer1", "encoder.layer2"):
            inputs = F.softplus(inputs @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], beta=4)
        return inputs @ weights["head.weight"].T + weights["head.bias"]

    def support_loss(weights: dict[str, Tensor]) -> Tensor:
        logits, support = forward(weights, episode.support.inputs), episode.support
        means = [F.cross_entropy(logits[support.labels == k], support.labels[support.labels == k]) for k in range(support.way)]
        return torch.stack(means).mean()

    def query_loss(weights: dict[str, Tensor]) -> Tensor:
        for _ in range(steps):
            slopes = torch.func.grad(support_loss)(weights)
            slopes = slopes if order == 2 else {name: slope.detach() for name, slope in slopes.items()}
            weights = {name: weights[name] - rate * slopes[name] for name in weights}
        return F.cross_entropy(forward(weights, episode.queries), episode.query_labels)

    gradients, loss = torch.func.grad_and_value(query_loss)(copy.copy(dict(params)))
    return gradients, float(loss)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("steps", [1, 4])
def test_maml_equals_an_independent_implementation(order: int, steps: int) -> None:
    case = Case(VECTORS, PER_CLASS, steps=steps)
    params, rate = case.params(), torch.tensor(PER_CLASS.step_size).item()
    expected, loss = maml_by_hand(params, case.episode(), rate=rate, steps=steps, order=order)
    got = case.outcome(params, order)
    # The weights of the balanced loss are made in float32.
    assert got.loss == pytest.approx(loss, rel=1e-6)
    for name, gradient in expected.items():
        assert distance(got.gradients[name], gradient) < 1e-6, name


@pytest.mark.parametrize(("step_weights", "judged"), [("last", [3]), ("first_and_last", [0, 3]), ("uniform", [0, 1, 2, 3])])
def test_step_weights_say_which_steps_the_query_loss_is_the_mean_of(step_weights: StepWeights, judged: list[int]) -> None:
    params = CASES["all, per_class, mlp"].params()
    losses = [Case(VECTORS, PER_CLASS, steps=steps).outcome(params, 1).loss for steps in range(4)]
    got = Case(VECTORS, PER_CLASS, steps=3, step_weights=step_weights).outcome(params, 1).loss
    assert got == pytest.approx(sum(losses[step] for step in judged) / len(judged), rel=1e-12)


def test_without_steps_the_first_and_last_parameters_are_judged_once() -> None:
    case = Case(VECTORS, LEARNED, steps=0, step_weights="first_and_last")
    expected = Case(VECTORS, LEARNED, steps=0).outcome(case.params(), 2)
    got = case.outcome(case.params(), 2)
    assert got.loss == expected.loss
    assert all(torch.equal(got.gradients[name], expected.gradients[name]) for name in expected.gradients)


def test_the_accuracy_is_that_of_the_queries_after_the_last_step() -> None:
    case = Case(VECTORS, PER_CLASS, steps=3, step_weights="uniform")
    params, episode = case.params(), case.episode()
    model = MetaModel(case.encoder, case.recipe, params, {})
    moved = {**params, **adapt(model, episode.support, 3).params}
    logits = case.encode(moved, episode.queries) @ moved["head.weight"].T + moved["head.bias"]
    assert case.outcome(params, 1).accuracy == pytest.approx((logits.argmax(dim=1) == episode.query_labels).double().mean().item())


@pytest.mark.parametrize("which", ["head, learned rates, batch norm", "all, prototype, no norm"])
def test_an_episode_with_turns_says_what_the_episodes_of_its_rounds_say_on_average(which: str) -> None:
    case = CASES[which]
    params = case.params()
    episode = replace(
        double_episode(random_episode(case.encoder.input_shape, (2, 2, 2), QUERIES, torch.Generator().manual_seed(5))), turns=True
    )

    def outcome(episode: Episode) -> Outcome:
        return QueryGradient(2, case.step_weights)(trainable(params), case.recipe, case.encoder, case.encode, episode, case.steps)

    got, rounds = outcome(episode), [outcome(each) for each in episode.rounds()]
    assert len(rounds) == 4
    assert got.loss == pytest.approx(sum(each.loss for each in rounds) / 4, rel=1e-9)
    assert got.accuracy == pytest.approx(sum(each.accuracy for each in rounds) / 4, rel=1e-6)
    for name, gradient in got.gradients.items():
        expected = torch.stack([each.gradients[name] for each in rounds]).mean(dim=0)
        torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-10)
