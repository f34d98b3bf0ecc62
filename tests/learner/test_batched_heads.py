from dataclasses import replace

import pytest
import torch
from torch import Tensor

from service.learner.batched_heads import adapt_heads
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.identity import Identity
from service.learner.encoders.mlp import Mlp
from service.learner.episodes import Support
from service.learner.meta_model import Adapted, MetaModel, adapt
from service.learner.recipe import Recipe
from service.learner.task_batch import TaskBatch
from tests.learner.tasks import distance, random_support
from tests.tiny import HEAD_RECIPE, tiny_model

VECTORS = Mlp(inputs=12, width=32)

# Shots and steps of tasks that share one batch: 2 to 200 classes, shots 1 and 30 mixed, every count of steps.
MIXED = [
    ([1, 30], 10),
    ([5, 5, 5, 5, 5], 3),
    ([1] * 19 + [30], 0),
    ([1 if label % 2 else 30 for label in range(200)], 5),
    ([1, 1], 1),
]


def embedded(model: MetaModel, support: Support) -> Support:
    return replace(support, inputs=model.embed(support.inputs))


def rows(adapted: Adapted) -> Tensor:
    """A head as one tensor [way, D + 1]."""
    return torch.cat([adapted.params["head.weight"], adapted.params["head.bias"][:, None]], dim=1)


def assert_equal_to_one_at_a_time(model: MetaModel, supports: list[Support], steps: list[int], *, losses: float = 1e-5) -> None:
    """Weights and losses to 1e-5 of their norm: DESIGN 3, "equal means"."""
    together = adapt_heads(model.params, model.recipe, TaskBatch.of([embedded(model, support) for support in supports]), steps)
    for got, support, count in zip(together, supports, steps, strict=True):
        expected = adapt(model, support, count)
        assert got.params.keys() == expected.params.keys()
        assert distance(rows(got), rows(expected)) < 1e-5, (support.way, count)
        assert len(got.losses) == count + 1
        assert distance(torch.tensor(got.losses), torch.tensor(expected.losses)) < losses, (support.way, count)


@pytest.mark.parametrize(
    "recipe",
    [
        replace(HEAD_RECIPE, step_size=3.0),
        Recipe(rates="one", learn_rates=True, step_size=0.5, steps_max=10),
        Recipe(step_size=0.5, steps_max=10),
        Recipe(head="zero", step_size=0.5, steps_max=10),
        Recipe(head="shared", step_size=0.5, steps_max=10),
        Recipe(rates="per_layer_and_step", learn_rates=True, step_size=0.5, steps_default=3, steps_max=10),
        Recipe(rates="per_parameter", learn_rates=True, step_size=0.5, steps_max=10),
    ],
    ids=["rates per layer", "one learned rate", "constant rate", "zero head", "shared head", "rates per step", "rates per number"],
)
def test_tasks_of_different_way_shot_and_steps_are_adapted_as_one_at_a_time(recipe: Recipe, generator: torch.Generator) -> None:
    supports = [random_support((12,), shots, generator) for shots, _ in MIXED]
    model = tiny_model(VECTORS, recipe)
    # Rates of their own, so that none can be mistaken for another.
    noise = {name: torch.rand(value.shape, generator=generator) for name, value in model.params.items() if name.startswith("rate.")}
    slower = {name: model.params[name] - value for name, value in noise.items()}
    assert_equal_to_one_at_a_time(replace(model, params={**model.params, **slower}), supports, [steps for _, steps in MIXED])


def test_per_class_heads_are_adapted_as_one_at_a_time(generator: torch.Generator) -> None:
    model = tiny_model(VECTORS, Recipe(head="per_class", way=3, step_size=0.5, steps_max=10))
    learned = {"head.weight": torch.randn(3, 32, generator=generator), "head.bias": torch.randn(3, generator=generator)}
    supports = [random_support((12,), shots, generator) for shots in ([1, 2, 3], [30, 1, 1])]
    assert_equal_to_one_at_a_time(replace(model, params={**model.params, **learned}), supports, [7, 2])


def test_ridge_heads_are_solved_as_one_at_a_time(generator: torch.Generator) -> None:
    model = tiny_model(VECTORS, Recipe(head="ridge"))
    supports = [random_support((12,), shots, generator) for shots in ([1, 2, 3], [9, 1], [1] * 20)]
    # The losses are those of logits near to one-hot, times ten: small differences of large numbers.
    assert_equal_to_one_at_a_time(model, supports, [0, 0, 0], losses=1e-3)


def test_discriminant_heads_are_solved_as_one_at_a_time(generator: torch.Generator) -> None:
    model = tiny_model(Identity(width=12), Recipe(head="discriminant"))
    supports = [random_support((12,), shots, generator) for shots in ([1, 2, 3], [9, 1], [1] * 20)]
    supports = [
        replace(each, inputs=each.inputs * (torch.arange(12) < columns)) for each, columns in zip(supports, (4, 12, 1), strict=True)
    ]
    assert_equal_to_one_at_a_time(model, supports, [0, 0, 0])


def test_heads_of_a_convolutional_encoder_are_adapted_as_one_at_a_time(generator: torch.Generator) -> None:
    model = tiny_model(Conv4(width=16))
    supports = [random_support((1, 28, 28), shots, generator) for shots in ([1, 1, 1, 1, 1], [1, 30], [3, 1, 2])]
    assert_equal_to_one_at_a_time(model, supports, [3, 10, 0])


def test_a_task_is_adapted_the_same_whoever_shares_its_batch(generator: torch.Generator) -> None:
    model = tiny_model(VECTORS)
    supports = [embedded(model, random_support((12,), shots, generator)) for shots, _ in MIXED]
    (alone,) = adapt_heads(model.params, model.recipe, TaskBatch.of(supports[:1]), [4])
    beside, *_ = adapt_heads(model.params, model.recipe, TaskBatch.of(supports), [4, 9, 0, 5, 1])
    assert distance(rows(beside), rows(alone)) < 1e-5
    assert beside.losses == pytest.approx(alone.losses, rel=1e-5)


def test_an_adapted_head_keeps_no_memory_of_its_batch(generator: torch.Generator) -> None:
    model = tiny_model(VECTORS)
    supports = [embedded(model, random_support((12,), shots, generator)) for shots, _ in MIXED]
    for adapted, support in zip(
        adapt_heads(model.params, model.recipe, TaskBatch.of(supports), [1] * len(supports)), supports, strict=True
    ):
        assert adapted.params["head.weight"].untyped_storage().nbytes() == support.way * VECTORS.width * 4
