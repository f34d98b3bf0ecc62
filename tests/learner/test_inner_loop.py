import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from service.learner.inner_loop import LARGEST_RATE, SMALLEST_RATE, Order, Start, initial_rate, inner_loop, rate_name, step_sizes
from service.learner.recipe import Rates, Recipe
from tests.learner.tasks import distance, labels_of

SHOTS = (1, 3, 2)
RATES = {"head.weight": 0.5, "head.bias": 0.1}


def head_task(generator: torch.Generator, *, requires_grad: bool = False) -> Start:
    """A linear softmax head over random features [6, 4] of three classes."""
    labels = labels_of(SHOTS)
    return Start(
        moved={
            "head.weight": torch.randn(3, 4, generator=generator).requires_grad_(requires_grad),
            "head.bias": torch.randn(3, generator=generator).requires_grad_(requires_grad),
        },
        fixed={},
        features=torch.randn(len(labels), 4, generator=generator),
        labels=labels,
        weights=torch.full((len(labels),), 1 / len(labels)),
        logits=lambda moved, features: features @ moved["head.weight"].T + moved["head.bias"],
        step_sizes=[{name: torch.tensor(rate) for name, rate in RATES.items()}],
    )


def by_hand(start: Start, steps: int) -> tuple[Tensor, Tensor]:
    """Gradient descent on a softmax head, with the gradient in closed form: (softmax − one-hot) · features."""
    weight, bias = start.moved["head.weight"].detach(), start.moved["head.bias"].detach()
    target = torch.nn.functional.one_hot(start.labels, len(bias))
    for _ in range(steps):
        residual = ((start.features @ weight.T + bias).softmax(dim=1) - target) / len(target)
        weight, bias = weight - RATES["head.weight"] * residual.T @ start.features, bias - RATES["head.bias"] * residual.sum(dim=0)
    return weight, bias


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 4])
def test_every_step_is_gradient_descent_in_closed_form(order: Order, steps: int, generator: torch.Generator) -> None:
    start = head_task(generator, requires_grad=True)
    trail = list(itertools.islice(inner_loop(start, order=order), steps))
    for count, step in enumerate(trail, start=1):
        weight, bias = by_hand(start, count)
        assert distance(step.moved["head.weight"], weight) < 1e-6
        assert distance(step.moved["head.bias"], bias) < 1e-6


def test_every_step_tells_the_loss_it_started_from(generator: torch.Generator) -> None:
    start = head_task(generator, requires_grad=True)
    first, second = itertools.islice(inner_loop(start, order=2), 2)
    assert first.loss_before.item() == pytest.approx(start.loss(start.moved).item())
    assert second.loss_before.item() == pytest.approx(start.loss(first.moved).item())
    assert not second.loss_before.requires_grad


def test_serving_cuts_the_graph_and_training_keeps_it(generator: torch.Generator) -> None:
    start = head_task(generator, requires_grad=True)
    served, *trained = [next(inner_loop(start, order=order)).moved for order in (0, 1, 2)]
    (served_slope,) = torch.autograd.grad(start.loss(served), start.moved["head.bias"], allow_unused=True)
    assert served_slope is None
    for moved in trained:
        (slope,) = torch.autograd.grad(start.loss(moved), start.moved["head.bias"])
        assert slope.abs().max() > 0


def test_the_first_order_treats_the_steps_as_constants(generator: torch.Generator) -> None:
    start = head_task(generator, requires_grad=True)
    moved = list(itertools.islice(inner_loop(start, order=1), 3))[-1].moved
    slopes = torch.autograd.grad(moved["head.weight"].sum(), start.moved["head.weight"])
    assert torch.equal(slopes[0], torch.ones(3, 4))


def test_serving_works_where_gradients_are_off(generator: torch.Generator) -> None:
    start = head_task(generator)
    with torch.no_grad():
        moved = next(inner_loop(start)).moved
    assert distance(moved["head.weight"], by_hand(start, 1)[0]) < 1e-6


def test_the_start_is_left_as_it_was(generator: torch.Generator) -> None:
    start = head_task(generator)
    before = {name: value.clone() for name, value in start.moved.items()}
    list(itertools.islice(inner_loop(start), 3))
    assert all(torch.equal(start.moved[name], before[name]) for name in before)


def test_a_constant_step_size_serves_every_parameter() -> None:
    (sizes,) = step_sizes({}, Recipe(step_size=0.25), ["head.weight", "head.bias"])
    assert {name: value.item() for name, value in sizes.items()} == {"head.weight": 0.25, "head.bias": 0.25}


def test_learned_step_sizes_are_exponentials_of_their_own_logarithms() -> None:
    recipe = Recipe(rates="per_layer", learn_rates=True)
    params = {"rate.head.weight": torch.tensor(0.5).log(), "rate.head.bias": torch.tensor(2.0).log()}
    (sizes,) = step_sizes(params, recipe, ["head.weight", "head.bias"])
    assert sizes["head.weight"].item() == pytest.approx(0.5)
    assert sizes["head.bias"].item() == pytest.approx(2.0)


def test_one_learned_step_size_is_shared_by_all() -> None:
    recipe = Recipe(rates="one", learn_rates=True)
    assert {rate_name(recipe, name) for name in ("head.weight", "encoder.layer1.bias")} == {"rate.all"}
    (sizes,) = step_sizes({"rate.all": torch.tensor(3.0).log()}, recipe, ["head.weight", "encoder.layer1.bias"])
    assert [value.item() for value in sizes.values()] == pytest.approx([3.0, 3.0])


def test_step_sizes_learned_for_each_step_are_taken_in_turn_and_the_last_again(generator: torch.Generator) -> None:
    recipe = Recipe(rates="per_layer_and_step", learn_rates=True, steps_default=2, steps_max=4)
    params = {"rate.head.weight": torch.tensor([0.5, 0.1]).log(), "rate.head.bias": torch.tensor([0.2, 0.3]).log()}
    sizes = step_sizes(params, recipe, list(RATES))
    assert [(step["head.weight"].item(), step["head.bias"].item()) for step in sizes] == [
        pytest.approx((0.5, 0.2)),
        pytest.approx((0.1, 0.3)),
    ]
    start = replace(head_task(generator), step_sizes=sizes, recipe=recipe)
    trail = [start.moved, *(step.moved for step in itertools.islice(inner_loop(start), 4))]
    for number, (before, after) in enumerate(itertools.pairwise(trail)):
        leaves = {name: value.detach().requires_grad_() for name, value in before.items()}
        slopes = dict(zip(leaves, torch.autograd.grad(start.loss(leaves), list(leaves.values())), strict=True))
        for name, size in sizes[min(number, 1)].items():
            torch.testing.assert_close(after[name], before[name] - size * slopes[name])


def test_learned_step_sizes_stay_within_bounds() -> None:
    recipe = Recipe(rates="per_layer", learn_rates=True)
    (sizes,) = step_sizes({"rate.a": torch.tensor(90.0), "rate.b": torch.tensor(-90.0)}, recipe, ["a", "b"])
    assert (sizes["a"].item(), sizes["b"].item()) == pytest.approx((LARGEST_RATE, SMALLEST_RATE))


@pytest.mark.parametrize(("rates", "shape"), [("one", ()), ("per_layer", ()), ("per_layer_and_step", (3,)), ("per_parameter", (2, 4))])
def test_rates_begin_with_the_recipes_step_size_in_their_own_shape(rates: Rates, shape: tuple[int, ...]) -> None:
    rate = initial_rate(Recipe(rates=rates, learn_rates=True, step_size=0.2, steps_default=3, steps_max=3), (2, 4))
    assert rate.shape == shape
    torch.testing.assert_close(rate.exp(), torch.full(shape, 0.2))


def test_a_proximal_term_pulls_back_to_the_start(generator: torch.Generator) -> None:
    """The first step, at the start, does not feel it; the second does, as the slope of λ/2·‖θ − start‖² says."""
    free, held = head_task(generator), Recipe(proximal=0.7)
    pulled = replace(free, recipe=held)
    (first, second), (one, two) = (list(itertools.islice(inner_loop(start), 2)) for start in (free, pulled))
    assert torch.equal(first.moved["head.weight"], one.moved["head.weight"])
    away = first.moved["head.weight"] - free.moved["head.weight"]
    torch.testing.assert_close(two.moved["head.weight"], second.moved["head.weight"] - RATES["head.weight"] * 0.7 * away)
    assert two.loss_before.item() == pytest.approx(second.loss_before.item())


def test_minibatches_go_through_the_support_set_class_by_class(generator: torch.Generator) -> None:
    start = replace(head_task(generator), recipe=Recipe(support_batch=3))
    seen = [start.minibatch(step) for step in range(4)]
    assert [start.labels[chosen].tolist() for chosen in seen if chosen is not None] == [[0, 1, 2], [1, 2, 1], [0, 1, 2], [1, 2, 1]]
    assert sorted(torch.cat([chosen for chosen in seen[:2] if chosen is not None]).tolist()) == list(range(6))


def test_a_support_batch_as_large_as_the_support_set_sees_all_of_it(generator: torch.Generator) -> None:
    assert replace(head_task(generator), recipe=Recipe(support_batch=6)).minibatch(0) is None
    assert head_task(generator).minibatch(0) is None


def test_a_step_on_a_minibatch_is_a_step_on_those_examples_alone(generator: torch.Generator) -> None:
    whole = replace(head_task(generator), recipe=Recipe(support_batch=2))
    chosen = whole.minibatch(0)
    assert chosen is not None
    alone = replace(whole, features=whole.features[chosen], labels=whole.labels[chosen], weights=torch.full((2,), 0.5), recipe=Recipe())
    for name, value in next(inner_loop(alone)).moved.items():
        torch.testing.assert_close(next(inner_loop(whole)).moved[name], value)
