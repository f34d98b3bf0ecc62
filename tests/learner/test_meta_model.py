from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from service.learner import heads
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.identity import Identity
from service.learner.encoders.mlp import Mlp
from service.learner.encoders.residual import Residual
from service.learner.episodes import Support
from service.learner.losses import balanced_weights, cross_entropy
from service.learner.meta_model import Adapted, MetaModel, adapt, adapted_shapes, fold, initial_params, predict, require_fitting
from service.learner.parameters import Params
from service.learner.recipe import Recipe, Scope
from tests.learner.tasks import distance, labels_of, random_support
from tests.tiny import HEAD_RECIPE, tiny_model

SHOTS = (1, 4, 2)
STEPS = 3

HEAD_ON_BATCH_NORM = (Conv4(width=8, size=16, norm="batch"), HEAD_RECIPE)
ALL_ON_GROUP_NORM = (Conv4(width=8, size=16, norm="group", groups=4), Recipe(scope="all", step_size=0.2, steps_default=STEPS, steps_max=9))
MODELS = {"head-scope on batch norm": HEAD_ON_BATCH_NORM, "all-scope on group norm": ALL_ON_GROUP_NORM}
VECTORS = Mlp(inputs=6, width=8)


@cache
def model(which: str) -> MetaModel:
    return tiny_model(*MODELS[which])


@cache
def adapted(which: str) -> Adapted:
    return adapt(model(which), task(), STEPS)


def task() -> Support:
    return random_support((1, 16, 16), SHOTS, torch.Generator().manual_seed(2))


@cache
def queries() -> Tensor:
    """Ordinary queries, and batch mates that would upset any statistics taken over a batch: blank, full, and far out of range."""
    ordinary = torch.rand(7, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    return torch.cat([ordinary, torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16), 20 * ordinary[:1]])


@cache
def alone(which: str) -> Tensor:
    """Probabilities of every query, asked one at a time."""
    return torch.cat([predict(model(which), adapted(which).params, query[None]) for query in queries()])


@pytest.mark.parametrize("which", MODELS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(batch=st.lists(st.integers(0, 9), min_size=1, max_size=14))
def test_a_prediction_is_the_same_alone_and_in_any_batch_and_order(which: str, batch: list[int]) -> None:
    together = predict(model(which), adapted(which).params, queries()[batch])
    torch.testing.assert_close(together, alone(which)[batch], atol=1e-5, rtol=0)


@pytest.mark.parametrize("which", MODELS)
def test_permuting_classes_permutes_the_answer(which: str) -> None:
    support, new = task(), torch.tensor([2, 0, 1])
    renamed = replace(support, labels=new[support.labels])
    answer = predict(model(which), adapt(model(which), renamed, STEPS).params, queries())
    torch.testing.assert_close(answer[:, new], alone(which), atol=1e-5, rtol=0)
    assert not torch.allclose(answer, alone(which), atol=1e-2)


@pytest.mark.parametrize("which", MODELS)
def test_the_order_of_the_support_set_changes_nothing(which: str) -> None:
    support, order = task(), torch.tensor([6, 2, 0, 5, 1, 4, 3])
    shuffled = Support(support.inputs[order], support.labels[order], support.way)
    answer = predict(model(which), adapt(model(which), shuffled, STEPS).params, queries())
    torch.testing.assert_close(answer, alone(which), atol=1e-5, rtol=0)


@pytest.mark.parametrize("which", MODELS)
def test_repeating_every_example_of_one_class_changes_nothing(which: str) -> None:
    support, rows = task(), torch.tensor([0, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6])
    repeated = Support(support.inputs[rows], support.labels[rows], support.way)
    answer = predict(model(which), adapt(model(which), repeated, STEPS).params, queries())
    torch.testing.assert_close(answer, alone(which), atol=1e-5, rtol=0)


@pytest.mark.parametrize("which", MODELS)
def test_zero_steps_is_a_prototypical_network_in_closed_form(which: str) -> None:
    """Softmax of −scale · ‖f(x) − c‖² with class means c, one distance at a time (Snell et al. 2017)."""
    meta, support = model(which), task()
    embedded = meta.embed(support.inputs)
    centres = [embedded[support.labels == label].mean(dim=0) for label in range(support.way)]
    scale = heads.scale(meta.params)
    distances = torch.stack([torch.stack([(query - centre).square().sum() for centre in centres]) for query in meta.embed(queries())])
    answer = predict(meta, adapt(meta, support, 0).params, queries())
    torch.testing.assert_close(answer, (-scale * distances).softmax(dim=1), atol=1e-5, rtol=0)
    assert torch.equal(answer.argmax(dim=1), distances.argmin(dim=1))


@pytest.mark.parametrize("which", MODELS)
def test_steps_change_the_answer(which: str) -> None:
    """Else the claims above would hold of a loop that does nothing."""
    before = predict(model(which), adapt(model(which), task(), 0).params, queries())
    assert not torch.allclose(before, alone(which), atol=1e-3)


@pytest.mark.parametrize("which", MODELS)
def test_adapting_and_predicting_change_nothing_of_the_meta_model(which: str) -> None:
    meta = tiny_model(*MODELS[which])
    before = {name: value.clone() for name, value in {**meta.params, **meta.statistics}.items()}
    predict(meta, adapt(meta, task(), STEPS).params, queries())
    after = {**meta.params, **meta.statistics}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(value.requires_grad or value.grad is not None for value in after.values())


@pytest.mark.parametrize("which", MODELS)
def test_what_was_adapted_keeps_no_graph(which: str) -> None:
    assert not any(value.requires_grad for value in adapted(which).params.values())


def vector_model(recipe: Recipe) -> MetaModel:
    return MetaModel(VECTORS, recipe, initial_params(VECTORS, recipe, torch.Generator().manual_seed(0)), {})


@pytest.mark.parametrize(
    ("scope", "moved"),
    [
        ("head", {"head.weight", "head.bias"}),
        ("last_block", {"encoder.layer2.weight", "encoder.layer2.bias", "head.weight", "head.bias"}),
        ("body", {"encoder.layer1.weight", "encoder.layer1.bias", "encoder.layer2.weight", "encoder.layer2.bias"}),
        (
            "all",
            {
                "encoder.layer1.weight", "encoder.layer1.bias", "encoder.layer2.weight", "encoder.layer2.bias",
                "head.weight", "head.bias",
            },
        ),
    ],
)  # fmt: skip
def test_a_scope_moves_its_own_parameters_and_no_others(scope: Scope, moved: set[str], generator: torch.Generator) -> None:
    meta = vector_model(Recipe(scope=scope, step_size=0.1, steps_default=1, steps_max=1))
    support = random_support((6,), SHOTS, generator)
    before, after = (adapt(meta, support, steps).params for steps in (0, 1))
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == moved
    # The head is the task's own even when the loop does not move it; nothing else comes along.
    assert set(after) == moved | {"head.weight", "head.bias"}


@pytest.mark.parametrize("scope", ["head", "all"])
def test_losses_are_those_of_the_support_set_before_the_first_step_and_after_each(scope: Scope, generator: torch.Generator) -> None:
    meta = vector_model(Recipe(scope=scope, step_size=0.02, steps_default=1, steps_max=4))
    support = random_support((6,), SHOTS, generator)
    weights = balanced_weights(support.labels, support.way)

    def support_loss(params: Params) -> float:
        logits = heads.logits(params, meta.embed(support.inputs, {**meta.params, **params}), heads.scale(meta.params))
        return float(cross_entropy(logits, support.labels, weights))

    slow = [support_loss(adapt(meta, support, steps).params) for steps in range(5)]
    assert adapt(meta, support, 4).losses == pytest.approx(slow, rel=1e-6)
    assert slow[-1] < slow[0]


def test_a_zero_head_says_nothing_until_it_has_stepped(generator: torch.Generator) -> None:
    meta = vector_model(Recipe(head="zero", step_size=1.0, steps_default=1, steps_max=1))
    support = random_support((6,), SHOTS, generator)
    before, after = (predict(meta, adapt(meta, support, steps).params, support.inputs) for steps in (0, 1))
    torch.testing.assert_close(before, torch.full_like(before, 1 / 3))
    assert (after - before).abs().max() > 1e-3


def test_a_per_class_head_starts_where_meta_training_left_it(generator: torch.Generator) -> None:
    meta = vector_model(Recipe(head="per_class", way=3, step_size=0.1, steps_default=1, steps_max=1))
    rows = {"head.weight": torch.randn(3, 8, generator=generator), "head.bias": torch.randn(3, generator=generator)}
    meta = replace(meta, params={**meta.params, **rows})
    support = random_support((6,), SHOTS, generator)
    start = adapt(meta, support, 0).params
    assert all(torch.equal(start[name], rows[name]) for name in rows)
    expected = (meta.embed(support.inputs) @ rows["head.weight"].T + rows["head.bias"]).softmax(dim=1)
    torch.testing.assert_close(predict(meta, start, support.inputs), expected)


def test_fresh_learned_rates_are_the_recipes_step_size() -> None:
    recipe = Recipe(rates="per_layer", learn_rates=True, step_size=5.0)
    params = initial_params(VECTORS, recipe, torch.Generator().manual_seed(0))
    assert params["rate.head.weight"].exp().item() == pytest.approx(5.0)
    assert {name for name in params if name.startswith("rate.")} == {"rate.head.weight", "rate.head.bias"}
    shared = initial_params(VECTORS, replace(recipe, rates="one", scope="all"), torch.Generator().manual_seed(0))
    assert {name for name in shared if name.startswith("rate.")} == {"rate.all"}


def test_initial_parameters_are_named_by_the_generator() -> None:
    first, again, other = (initial_params(VECTORS, Recipe(), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first["encoder.layer1.weight"], again["encoder.layer1.weight"])
    assert not torch.equal(first["encoder.layer1.weight"], other["encoder.layer1.weight"])


def test_labels_need_not_come_sorted(generator: torch.Generator) -> None:
    assert labels_of(SHOTS).tolist() == [0, 1, 1, 1, 1, 2, 2]
    meta = vector_model(Recipe())
    support = random_support((6,), SHOTS, generator)
    backwards = Support(support.inputs.flip(0), support.labels.flip(0), 3)
    torch.testing.assert_close(adapt(meta, backwards, 0).params["head.weight"], adapt(meta, support, 0).params["head.weight"])


@pytest.mark.parametrize("encoder", [Conv4(width=8), Conv4(width=8, projection=12), Residual(widths=(8, 16), projection=24)])
def test_folding_batch_norm_into_the_convolutions_changes_no_embedding(encoder: Conv4 | Residual, generator: torch.Generator) -> None:
    plain = tiny_model(encoder)
    scaled = {name: value * 1.5 - 0.2 if "norm." in name else value for name, value in plain.params.items()}
    model = replace(plain, params=scaled)
    images = torch.rand(7, 1, 28, 28, generator=generator)
    assert distance(fold(model).embed(images), model.embed(images)) < 1e-5


@pytest.mark.parametrize("model", [tiny_model(Conv4(width=8, norm="group")), tiny_model(Mlp(inputs=12))], ids=["group norm", "no norm"])
def test_what_has_no_batch_norm_is_folded_as_it_is(model: MetaModel, generator: torch.Generator) -> None:
    inputs = torch.rand(3, *model.encoder.input_shape, generator=generator)
    assert distance(fold(model).embed(inputs), model.embed(inputs)) < 1e-5


@pytest.mark.parametrize("scope", ["head", "last_block", "body", "all"])
def test_the_shapes_that_adapting_leaves_are_known_before(scope: Scope) -> None:
    some = tiny_model(ALL_ON_GROUP_NORM[0], Recipe(scope=scope, step_size=0.01, steps_default=1, steps_max=1))
    left = adapt(some, task(), 1).params
    assert adapted_shapes(some, len(SHOTS)) == {name: value.shape for name, value in left.items()}


def test_moving_a_body_that_is_not_there_is_refused_and_moving_its_head_too_is_not() -> None:
    with pytest.raises(ValueError, match=r"nothing to move; use scope = 'head'"):
        require_fitting(Identity(6), Recipe(scope="body"))
    require_fitting(Identity(6), Recipe(scope="all"))
