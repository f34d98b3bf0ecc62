from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from service.learner.batched_bodies import adapt_bodies, embed_bodies, kept_bytes, saved_bytes
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.mlp import Mlp
from service.learner.encoders.residual import Residual
from service.learner.encoders.resnet12 import ResNet12
from service.learner.encoders.torchvision_network import TorchvisionNetwork
from service.learner.episodes import Support
from service.learner.meta_model import MetaModel, adapt, as_served
from service.learner.parameters import trainable
from service.learner.recipe import Recipe
from service.learner.starts import moved_body
from service.registry.read import find
from tests.conftest import REPOSITORY
from tests.learner.tasks import assert_same_weights, distance, double, random_support
from tests.tiny import tiny_model

ALL = Recipe(scope="all", step_size=0.01, steps_default=2, steps_max=5)
FOUR = replace(ALL, head="per_class", way=4)
GROUPS = Conv4(width=8, size=16, norm="group", groups=4)
VECTORS = Mlp(6, width=16)

MODELS = {
    "conv4": tiny_model(GROUPS, ALL),
    "pooled": tiny_model(replace(GROUPS, downsample="pool", projection=8), replace(ALL, scope="body")),
    "task norm": tiny_model(Conv4(width=8, size=16, norm="task"), replace(FOUR, step_size=0.05)),
    "task norm, prototypes": tiny_model(Conv4(width=8, size=16, norm="task"), ALL),
    "last block": tiny_model(GROUPS, replace(ALL, scope="last_block")),
    "context of pictures": tiny_model(replace(GROUPS, context=3), replace(FOUR, scope="context", step_size=0.05)),
    "through views": tiny_model(GROUPS, replace(ALL, views=3)),
    "resnet12": tiny_model(ResNet12(channels=1, size=16, widths=(8, 8, 16, 16), norm="group", projection=16), ALL),
    "residual, unit length": tiny_model(Residual(size=16, widths=(8, 16), norm="group", projection=16, unit=True), ALL),
    "mobilenet": tiny_model(TorchvisionNetwork("mobilenet_v3_small", size=32, norm="group", projection=16), ALL),
    "mobilenet, pooled by a function": tiny_model(TorchvisionNetwork("mobilenet_v2", size=32, norm="group", projection=16), ALL),
    "vectors": tiny_model(VECTORS, replace(ALL, step_size=0.1)),
    "a shared head": tiny_model(VECTORS, replace(ALL, head="shared", step_size=0.1)),
    "a zero head": tiny_model(VECTORS, replace(ALL, head="zero", step_size=0.1)),
    "minibatches by adam": tiny_model(VECTORS, replace(FOUR, optimiser="adam", support_batch=6)),
    "pulled back": tiny_model(VECTORS, replace(FOUR, proximal=2.0, step_size=0.1)),
    "learned rates, of layers and steps": tiny_model(VECTORS, replace(ALL, rates="per_layer_and_step", learn_rates=True, step_size=0.1)),
    "learned rates, of numbers": tiny_model(VECTORS, replace(FOUR, rates="per_parameter", learn_rates=True, step_size=0.1)),
    "regression": tiny_model(VECTORS, replace(ALL, head="output", way=2, step_size=0.05)),
    "regression, minibatches": tiny_model(VECTORS, replace(ALL, head="output", way=2, support_batch=4, optimiser="adam")),
    "regression, context": tiny_model(Mlp(6, width=16, context=3), Recipe("context", "output", way=2, steps_default=2, steps_max=5)),
}
MODEL = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())

# In double precision, since some of these small networks make more than 1e-5 of what float32 rounds. Weights of examples are rounded so.
EQUAL = 1e-6


def in_double(model: MetaModel) -> MetaModel:
    served = as_served(model, torch.device("cpu"))
    return replace(served, params=double(served.params))


def supports_for(model: MetaModel, generator: torch.Generator) -> list[Support]:
    """Support sets of different way and shots, as far as the model's head allows; one of them is alone in having so many examples."""
    shape, recipe = model.encoder.input_shape, model.recipe
    if recipe.regression:
        outputs = recipe.way or 1
        points = (torch.randn(count, *shape, generator=generator, dtype=torch.float64) for count in (3, 9, 5))
        return [Support(each, torch.randn(len(each), outputs, generator=generator, dtype=torch.float64), outputs) for each in points]
    shots: Sequence[Sequence[int]] = [[1, 1], [3, 1, 2], [1] * 6, [2, 2]] if recipe.way is None else [[1] * 4, [1, 2, 4, 1], [1, 2, 3, 6]]
    drawn = [random_support(shape, each, generator) for each in shots]
    return [replace(support, inputs=support.inputs.double()) for support in drawn]


@MODEL
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_bodies_adapted_together_equal_the_inner_loop_on_each_alone(model: MetaModel, steps: int, generator: torch.Generator) -> None:
    model, supports = in_double(model), supports_for(model, generator)
    for together, support in zip(adapt_bodies(model, supports, steps), supports, strict=True):
        alone = adapt(model, support, steps)
        assert_same_weights(together.params, alone.params, within=EQUAL)
        assert together.losses == pytest.approx(alone.losses, rel=EQUAL, abs=EQUAL)
        if steps > 1:
            start = moved_body(model.encoder, model.recipe.scope, model.params)
            far, near = (torch.cat([(each.params[name] - start[name]).flatten() for name in start]) for each in (together, alone))
            assert near.norm() > 0, "nothing moved, so nothing was compared"
            assert distance(far, near) < 1e-4


@MODEL
def test_queries_embedded_together_are_embedded_by_their_own_body(model: MetaModel, generator: torch.Generator) -> None:
    model = in_double(model)
    own = [adapt(model, support, 2).params for support in supports_for(model, generator)]
    queries = torch.rand(len(own), 5, *model.encoder.input_shape, generator=generator, dtype=torch.float64)
    stacked = {name: torch.stack([each[name] for each in own]) for name in own[0] if not name.startswith("head.")}
    for together, each, asked in zip(embed_bodies(model, stacked, queries), own, queries, strict=True):
        expected = torch.cat([model.embed(query[None], {**model.params, **each}) for query in asked])
        assert distance(together, expected) < EQUAL


@MODEL
@pytest.mark.parametrize("number", [torch.nan, 1e200])
def test_what_diverges_leaves_the_others_alone(model: MetaModel, number: float, generator: torch.Generator) -> None:
    """Whatever pads them, and whatever stands beside them in one product."""
    model, supports = in_double(model), supports_for(model, generator)
    supports[1] = replace(supports[1], inputs=torch.full_like(supports[1].inputs, number))
    adapted = adapt_bodies(model, supports, 2)
    queries = torch.rand(len(supports), 3, *model.encoder.input_shape, generator=generator, dtype=torch.float64)
    own = {name: torch.stack([each.params[name] for each in adapted]) for name in adapted[0].params if not name.startswith("head.")}
    embedded = embed_bodies(model, own, queries)
    for place in (0, *range(2, len(supports))):
        alone = adapt(model, supports[place], 2)
        assert_same_weights(adapted[place].params, alone.params, within=EQUAL)
        assert distance(embedded[place], model.embed(queries[place], {**model.params, **alone.params})) < EQUAL


def test_what_pads_a_task_overflows_only_where_its_own_examples_do() -> None:
    """After a step on one far point the prediction at zero, squared, is beyond float32; at the point itself it is not."""
    model = as_served(find(REPOSITORY / "model_store", "sinusoid").model, torch.device("cpu"))
    far = Support(torch.full((5, 1), -6.689808368682861), torch.full((5, 1), -7.218565965477315e18), 1)
    more = Support(torch.arange(8.0).unsqueeze(1), torch.ones(8, 1), 1)
    stacked, _ = adapt_bodies(model, [far, more], 1)
    alone = adapt(model, far, 1)
    assert torch.tensor(alone.losses).isfinite().all()
    assert stacked.losses == pytest.approx(alone.losses, rel=1e-4)


def test_adapted_bodies_keep_no_memory_of_their_batch(generator: torch.Generator) -> None:
    for model in (MODELS["vectors"], MODELS["task norm"], MODELS["context of pictures"]):
        for adapted in adapt_bodies(in_double(model), supports_for(model, generator), 1):
            for value in adapted.params.values():
                assert value.untyped_storage().nbytes() == value.nbytes


def test_what_a_pass_keeps_of_an_input_is_no_less_than_what_it_does_keep() -> None:
    """A hidden layer keeps what it gives, and the inputs of the one before; the rectifier's result is counted once more."""
    encoder, numbers = Mlp(6, width=16, layers=2), 6 + 16 + 16
    assert 4 * numbers <= kept_bytes(encoder, "all") <= 2 * 4 * numbers


@pytest.mark.parametrize("model", [MODELS["conv4"], MODELS["task norm"], MODELS["resnet12"]], ids=["conv4", "task norm", "resnet12"])
def test_what_a_pass_keeps_grows_by_as_much_with_every_input(model: MetaModel) -> None:
    """Whoever asks first, and less where less moves."""
    encoder = model.encoder
    params = trainable(encoder.initial(torch.Generator()))
    kept_bytes.cache_clear()
    with torch.inference_mode():
        told = kept_bytes(encoder, "all")
    assert told == (saved_bytes(encoder, params, 9) - saved_bytes(encoder, params, 5)) / 4
    assert 0 < kept_bytes(encoder, "last_block") < told
