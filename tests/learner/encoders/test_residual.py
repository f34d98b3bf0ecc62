from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.learner.encoders.residual import Residual
from service.learner.parameters import Params
from service.learner.statistics import FrozenStatistics, episode_statistics, measure


def layer(encoder: Residual, params: Params, name: str, stride: int) -> nn.Sequential:
    """A convolution and its norm, made of torch's own modules."""
    weight = params[f"{name}conv.weight"]
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], stride=stride, padding=weight.shape[2] // 2, bias=False)
    convolution.load_state_dict({"weight": weight})
    norm = nn.BatchNorm2d(len(weight)) if encoder.norm == "batch" else nn.GroupNorm(encoder.groups, len(weight))
    norm.load_state_dict({"weight": params[f"{name}norm.weight"], "bias": params[f"{name}norm.bias"]}, strict=False)
    return nn.Sequential(convolution, norm)


def reference(encoder: Residual, params: Params, images: Tensor) -> Tensor:
    """The same network, written as the paper draws it."""
    values = layer(encoder, params, "encoder.stem.", 2)(images).relu()
    for number in range(1, len(encoder.widths) + 1):
        block, stride = f"encoder.block{number}.", 1 if number == 1 else 2
        straight = layer(encoder, params, f"{block}shortcut.", stride)(values) if number > 1 else values
        values = layer(encoder, params, f"{block}first.", stride)(values).relu()
        values = (layer(encoder, params, f"{block}second.", 1)(values) + straight).relu()
    return F.linear(values.flatten(1), params["encoder.projection.weight"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "group", "groups": 2},
        {"size": 21, "channels": 3},
        {"widths": (4,), "projection": 3},
        {"widths": (4, 8, 6, 4), "size": 33},
    ],
    ids=str,
)
def test_it_is_the_network_that_torchs_own_modules_make(options: dict[str, Any], generator: torch.Generator) -> None:
    encoder = Residual(**{"widths": (4, 8, 6), "projection": 10, **options})
    params = {name: value + 0.1 * torch.randn(value.shape, generator=generator) for name, value in encoder.initial(generator).items()}
    images = torch.rand(5, *encoder.input_shape, generator=generator)
    got = encoder(params, images, episode_statistics)
    assert got.shape == (5, encoder.embedding)
    torch.testing.assert_close(got, reference(encoder, params, images), atol=1e-4, rtol=1e-4)


def test_unit_embeddings_point_the_same_way_and_have_one_length(generator: torch.Generator) -> None:
    free, unit = (Residual(widths=(4, 8), projection=9, unit=unit) for unit in (False, True))
    params, images = free.initial(generator), torch.rand(5, 1, 28, 28, generator=generator)
    one, other = (encoder(params, images, episode_statistics) for encoder in (free, unit))
    torch.testing.assert_close(other, 3 * one / one.norm(dim=1, keepdim=True))


def test_bytes_count_as_shares_of_255(generator: torch.Generator) -> None:
    encoder = Residual(widths=(4, 8))
    params = encoder.initial(generator)
    images = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8, generator=generator)
    assert torch.equal(encoder(params, images, episode_statistics), encoder(params, images / 255, episode_statistics))


def test_every_parameter_belongs_to_a_block_and_every_norm_has_moments(generator: torch.Generator) -> None:
    encoder = Residual(widths=(4, 8, 6))
    params = encoder.initial(generator)
    assert all(name.startswith(encoder.blocks) for name in params)
    moments = measure(encoder, params, torch.rand(8, 1, 28, 28, generator=generator))
    layers = {name.removesuffix("norm.weight") for name in params if name.endswith("norm.weight")}
    assert {name.removesuffix("mean") for name in moments if name.endswith("mean")} == layers
    frozen = FrozenStatistics(moments)
    images = torch.rand(6, 1, 28, 28, generator=generator)
    together = encoder(params, images, frozen)
    alone = torch.cat([encoder(params, image[None], frozen) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_same_generator_draws_the_same_parameters() -> None:
    first, again, other = (Residual(widths=(4, 8)).initial(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.stem.conv.weight"], other["encoder.stem.conv.weight"])
