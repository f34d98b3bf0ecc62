import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.encoder import Encoder, Normalise
from service.learner.encoders.mlp import Mlp
from service.learner.episodes import Episode, Support
from service.learner.meta_model import MetaModel, adapt, initial_params, predict
from service.learner.outer_rules import (
    ANNEALED_AFTER,
    Displacement,
    ImplicitGradient,
    Outcome,
    OuterRule,
    QueryGradient,
    StepWeights,
)
from service.learner.parameters import Params, trainable
from service.learner.recipe import HeadKind, Recipe
from service.learner.starts import Learner
from service.learner.statistics import episode_statistics
from tests.learner.tasks import distance, double, double_episode, random_episode

SHOTS = (1, 3, 2)
QUERIES = 2

VECTORS = Mlp(inputs=5, width=6, activation="softplus")
PLAIN = Conv4(width=4, size=16, norm="none", activation="softplus")
GROUP = Conv4(width=4, size=20, norm="group", groups=2, activation="softplus")
TASK = Conv4(width=4, size=16, norm="task", activation="softplus")
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
        return self.ask(QueryGradient(2 if order == 2 else 1, self.step_weights), params)

    def ask(self, rule: OuterRule, params: Params, episode: Episode | None = None, *, progress: float = 1.0) -> Outcome:
        learner = Learner(trainable(params), self.recipe, self.encoder, self.encode)
        return rule(learner, episode or self.episode(), self.steps, progress=progress)

    def encode(self, params: Params, inputs: Tensor, normalise: Normalise | None = None) -> Tensor:
        return self.encoder(params, inputs, normalise or episode_statistics)

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
    "context, output of a class": Case(
        Mlp(inputs=5, width=6, activation="softplus", context=2), Recipe(scope="context", head="per_class", way=3, step_size=0.8), steps=3
    ),
    "context, pictures": Case(
        Conv4(width=4, size=16, norm="none", activation="softplus", context=2), Recipe(scope="context", head="per_class", way=3)
    ),
    "all, shared": Case(VECTORS, Recipe(scope="all", head="shared", step_size=0.3, steps_default=2, steps_max=9), steps=3),
    "all, task norm": Case(TASK, PER_CLASS),
    "all, prototype, task norm": Case(TASK, PROTOTYPE),
    "all, a rate for each layer and step": Case(
        VECTORS,
        Recipe(
            scope="all", head="per_class", way=3, rates="per_layer_and_step", learn_rates=True, step_size=0.3, steps_default=2, steps_max=9
        ),
        steps=3,
    ),
    "all, a rate for each number": Case(
        VECTORS, Recipe(scope="all", head="per_class", way=3, rates="per_parameter", learn_rates=True, step_size=0.3), steps=2
    ),
    "all, proximal": Case(VECTORS, Recipe(scope="all", head="per_class", way=3, step_size=0.3, proximal=0.5), steps=3),
    "all, minibatches": Case(VECTORS, Recipe(scope="all", head="per_class", way=3, step_size=0.3, support_batch=2), steps=3),
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


def forward(weights: Params, inputs: Tensor) -> Tensor:
    """A two-layer perceptron with a linear head, written again."""
    for layer in ("encoder.layer1", "encoder.layer2"):
        inputs = F.softplus(inputs @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], beta=4)
    return inputs @ weights["head.weight"].T + weights["head.bias"]


def mean_of_classes(logits: Tensor, episode: Episode) -> Tensor:
    """The class-balanced support loss, by a loop over classes."""
    labels = episode.support.labels
    return torch.stack([F.cross_entropy(logits[labels == k], labels[labels == k]) for k in range(episode.support.way)]).mean()


def maml_by_hand(params: Params, episode: Episode, *, rate: float, steps: int, order: int) -> tuple[dict[str, Tensor], float]:
    """MAML written again, on its own, with `torch.func`."""

    def support_loss(weights: dict[str, Tensor]) -> Tensor:
        return mean_of_classes(forward(weights, episode.support.inputs), episode)

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
        return case.ask(QueryGradient(2, case.step_weights), params, episode)

    got, rounds = outcome(episode), [outcome(each) for each in episode.rounds()]
    assert len(rounds) == 4
    assert got.loss == pytest.approx(sum(each.loss for each in rounds) / 4, rel=1e-9)
    assert got.accuracy == pytest.approx(sum(each.accuracy for each in rounds) / 4, rel=1e-6)
    for name, gradient in got.gradients.items():
        expected = torch.stack([each.gradients[name] for each in rounds]).mean(dim=0)
        torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("head", ["ridge", "discriminant"])
def test_a_solved_heads_meta_gradient_is_the_derivative_of_the_query_loss(head: HeadKind) -> None:
    """No steps, so there is one order only; the slope passes the solution of the normal equations."""
    case, generator = Case(VECTORS, Recipe(head=head), steps=0), torch.Generator().manual_seed(6)
    params = case.params()
    for name, gradient in case.outcome(params, 1).gradients.items():
        direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        assert float((gradient * direction).sum()) == pytest.approx(case.slope(params, name, direction), rel=1e-4, abs=1e-8), name


RATED = {"meta-sgd": "all, a rate for each number", "maml++": "all, a rate for each layer and step"}


@pytest.mark.parametrize("which", RATED.values(), ids=list(RATED))
def test_the_meta_gradient_moves_learned_rates(which: str) -> None:
    case = CASES[which]
    rates = {name: value for name, value in case.outcome(case.params(), 2).gradients.items() if name.startswith("rate.")}
    assert len(rates) == 6
    assert all(bool((value != 0).any()) for value in rates.values())


def test_meta_sgd_equals_an_independent_implementation() -> None:
    """Li et al. (2017), equation 4: θ' = θ − α ∘ ∇L, one step, α of the shape of θ; a row of the head shares its α."""
    case = replace(CASES["all, a rate for each number"], steps=1)
    params, episode = case.params(), case.episode()

    def query_loss(learned: dict[str, Tensor]) -> Tensor:
        weights = {name: value for name, value in learned.items() if not name.startswith("rate.")}
        slopes = torch.func.grad(lambda inner: mean_of_classes(forward(inner, episode.support.inputs), episode))(weights)
        moved = {name: value - learned[f"rate.{name}"].exp() * slopes[name] for name, value in weights.items()}
        return F.cross_entropy(forward(moved, episode.queries), episode.query_labels)

    expected, loss = torch.func.grad_and_value(query_loss)(dict(params))
    got = case.outcome(params, 2)
    assert got.loss == pytest.approx(float(loss), rel=1e-6)
    for name, gradient in expected.items():
        assert distance(got.gradients[name], gradient) < 1e-6, name


def test_cavia_equals_an_independent_implementation() -> None:
    """Zintgraf et al. (2019): context parameters stand beside every input, start from zero and are all that the inner loop moves."""
    case = CASES["context, output of a class"]
    params, episode = case.params(), case.episode()

    def beside(learned: dict[str, Tensor], context: Tensor, inputs: Tensor) -> Tensor:
        wide = {
            **learned,
            "encoder.layer1.weight": torch.cat([learned["encoder.layer1.weight"], learned["encoder.layer1.context.weight"]], 1),
        }
        return forward(wide, torch.cat([inputs, context.expand(len(inputs), -1)], dim=1))

    def query_loss(learned: dict[str, Tensor]) -> Tensor:
        context = torch.zeros(2, dtype=torch.float64)
        for _ in range(case.steps):
            slope = torch.func.grad(lambda moved: mean_of_classes(beside(learned, moved, episode.support.inputs), episode))(context)
            context = context - torch.tensor(case.recipe.step_size).double() * slope
        return F.cross_entropy(beside(learned, context, episode.queries), episode.query_labels)

    expected, loss = torch.func.grad_and_value(query_loss)(dict(params))
    got = case.outcome(params, 2)
    assert got.loss == pytest.approx(float(loss), rel=1e-6)
    for name, gradient in expected.items():
        assert distance(got.gradients[name], gradient) < 1e-5, name


def test_boil_leaves_the_head_to_the_outer_loop() -> None:
    """Oh et al. (2021): the head does not move within a task, and its meta-gradient is that of the query loss."""
    case = Case(VECTORS, Recipe(scope="body", head="per_class", way=3, step_size=0.3), steps=2)
    params, episode = case.params(), case.episode()
    adapted = adapt(MetaModel(VECTORS, case.recipe, params, {}), episode.support, 2).params
    assert torch.equal(adapted["head.weight"], params["head.weight"])
    head = {name: params[name].clone().requires_grad_() for name in ("head.weight", "head.bias")}
    loss = F.cross_entropy(forward({**adapted, **head}, episode.queries), episode.query_labels)
    got = case.outcome(params, 1)
    for name, gradient in zip(head, torch.autograd.grad(loss, list(head.values())), strict=True):
        assert distance(got.gradients[name], gradient) < 1e-6


def test_reptile_moves_towards_where_its_own_optimiser_ends() -> None:
    """Nichol et al. (2018), Algorithm 1, with torch's Adam in the inner loop."""
    recipe = Recipe(scope="all", head="per_class", way=3, optimiser="adam", step_size=0.01, support_batch=3)
    case = Case(VECTORS, recipe, steps=4)
    params, support = case.params(), case.episode().support
    weights = trainable({name: value.clone() for name, value in params.items()})
    optimiser = torch.optim.Adam(weights.values(), lr=0.01, betas=(0.0, 0.999))
    for chosen in ([0, 1, 4], [2, 5, 3]) * 2:  # the first of every class, then the second ones, and so on
        counts = 1 / torch.bincount(support.labels, minlength=3)[support.labels[chosen]].double()
        optimiser.zero_grad()
        own = F.cross_entropy(forward(weights, support.inputs[chosen]), support.labels[chosen], reduction="none")
        (own * counts / counts.sum()).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    got = case.ask(Displacement(), params)
    for name, value in params.items():
        assert distance(got.gradients[name], value - weights[name].detach()) < 1e-5, name


def test_the_implicit_gradient_is_the_explicit_one_on_a_quadratic() -> None:
    """With a linear model and squared error, θ* = (H + λI)⁻¹(b + λθ) in closed form, so dθ*/dθ = (I + H/λ)⁻¹ exactly."""
    penalty, generator = 0.8, torch.Generator().manual_seed(3)
    inputs, targets = (
        torch.randn(5, 3, generator=generator, dtype=torch.float64),
        torch.randn(5, 1, generator=generator, dtype=torch.float64),
    )
    queries, wanted = (
        torch.randn(4, 3, generator=generator, dtype=torch.float64),
        torch.randn(4, 1, generator=generator, dtype=torch.float64),
    )
    recipe = Recipe(scope="head", head="output", way=1, step_size=0.2, proximal=penalty, steps_max=500)
    weight = torch.randn(1, 3, generator=generator, dtype=torch.float64)
    learner = Learner(
        trainable({"head.weight": weight, "head.bias": torch.zeros(1, dtype=torch.float64)}),
        recipe,
        VECTORS,
        lambda params, seen, normalise: seen,  # noqa: ARG005 - the embedding is the input
    )
    got = ImplicitGradient(solver_steps=4)(learner, Episode(Support(inputs, targets, 1), queries, wanted), 500, progress=0.0)

    seen, asked = (torch.cat([each, torch.ones(len(each), 1)], dim=1).double() for each in (inputs, queries))
    hessian, eye = 2 * seen.T @ seen / len(seen), torch.eye(4, dtype=torch.float64)
    start = torch.cat([weight, torch.zeros(1, 1)], dim=1).T.double()
    ended = torch.linalg.solve(hessian + penalty * eye, 2 * seen.T @ targets / len(seen) + penalty * start)
    slope = 2 * asked.T @ (asked @ ended - wanted) / len(asked)
    expected = torch.linalg.solve(eye + hessian / penalty, slope).T
    assert distance(torch.cat([got.gradients["head.weight"], got.gradients["head.bias"].view(1, 1)], dim=1), expected) < 1e-6


def test_the_implicit_gradient_is_that_of_a_long_unrolled_loop() -> None:
    """Where the inner loop has settled, differentiating through all its steps gives the same."""
    recipe = Recipe(scope="all", head="per_class", way=3, step_size=0.05, proximal=3.0, steps_max=300)
    case = Case(VECTORS, recipe, steps=200)
    params = case.params()
    unrolled, implicit = case.outcome(params, 2), case.ask(ImplicitGradient(solver_steps=40), params)
    for name, gradient in unrolled.gradients.items():
        assert distance(implicit.gradients[name], gradient) < 1e-4, name


def test_maml_plus_plus_trusts_all_steps_first_and_the_last_one_soon() -> None:
    params = CASES["all, per_class, mlp"].params()
    after = [Case(VECTORS, PER_CLASS, steps=steps).outcome(params, 1).loss for steps in range(4)]
    case, rule = Case(VECTORS, PER_CLASS, steps=3), QueryGradient(1, "annealed")
    assert case.ask(rule, params, progress=0.0).loss == pytest.approx(sum(after[1:]) / 3)
    assert case.ask(rule, params, progress=ANNEALED_AFTER / 2).loss == pytest.approx((after[1] + after[2]) / 6 + after[3] * 2 / 3)
    assert case.ask(rule, params, progress=0.5).loss == pytest.approx(after[3])


def test_maml_plus_plus_takes_the_first_order_until_it_is_told() -> None:
    case = CASES["all, per_class, mlp"]
    params, rule = case.params(), QueryGradient(2, first_order_until=0.3)
    early, late = (case.ask(rule, params, progress=progress).gradients for progress in (0.2, 0.3))
    for order, found in ((1, early), (2, late)):
        expected = case.outcome(params, order).gradients
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("rule", "recipe", "says"),
    [
        (QueryGradient(2), Recipe(optimiser="adam"), "second order"),
        (ImplicitGradient(), PER_CLASS, "proximal > 0"),
        (Displacement(), PROTOTYPE, "learned rows"),
    ],
)
def test_a_rule_refuses_a_recipe_that_it_has_no_meta_gradient_for(rule: OuterRule, recipe: Recipe, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rule.require_fitting(recipe)
