from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.learner.encoders.resnet12 import ResNet12
from service.learner.meta_model import fold
from service.learner.parameters import Params
from service.learner.statistics import FrozenStatistics, episode_statistics, measure
from tests.tiny import tiny_model

SMALL: dict[str, Any] = {"widths": (4, 8, 6, 10), "size": 32, "projection": 7}


def layer(encoder: ResNet12, params: Params, name: str) -> nn.Sequential:
    """A convolution and its norm, made of torch's own modules."""
    weight = params[f"{name}conv.weight"]
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2, bias=False)
    convolution.load_state_dict({"weight": weight})
    norm = nn.BatchNorm2d(len(weight)) if encoder.norm == "batch" else nn.GroupNorm(encoder.groups, len(weight))
    norm.load_state_dict({"weight": params[f"{name}norm.weight"], "bias": params[f"{name}norm.bias"]}, strict=False)
    return nn.Sequential(convolution, norm)


def reference(encoder: ResNet12, params: Params, images: Tensor) -> Tensor:
    """The same network, written as the paper draws it."""
    values = images
    for number in range(1, 5):
        block = f"encoder.block{number}."
        straight = layer(encoder, params, f"{block}shortcut.")(values)
        values = F.leaky_relu(layer(encoder, params, f"{block}first.")(values), 0.1)
        values = F.leaky_relu(layer(encoder, params, f"{block}second.")(values), 0.1)
        values = layer(encoder, params, f"{block}third.")(values)
        values = F.max_pool2d(F.leaky_relu(values + straight, 0.1), 2)
    return F.linear(values.mean(dim=(2, 3)), params["encoder.projection.weight"])


@pytest.mark.parametrize("options", [{}, {"norm": "group", "groups": 2}, {"size": 21, "channels": 1}], ids=str)
def test_it_is_the_network_that_torchs_own_modules_make(options: dict[str, Any], generator: torch.Generator) -> None:
    encoder = ResNet12(**{**SMALL, **options})
    params = {name: value + 0.1 * torch.randn(value.shape, generator=generator) for name, value in encoder.initial(generator).items()}
    images = torch.rand(5, *encoder.input_shape, generator=generator)
    got = encoder(params, images, episode_statistics)
    assert got.shape == (5, encoder.embedding)
    torch.testing.assert_close(got, reference(encoder, params, images), atol=1e-4, rtol=1e-4)


def test_its_default_is_the_one_of_the_literature(generator: torch.Generator) -> None:
    encoder = ResNet12()
    params = encoder.initial(generator)
    convolutions = {name: value for name, value in params.items() if not name.startswith("encoder.projection")}
    assert encoder.widths == (64, 160, 320, 640)
    # 12,424,320 is what the usual PyTorch implementation without its classifier counts.
    assert sum(value.numel() for value in convolutions.values()) == 12_424_320


def test_bytes_count_as_shares_of_255(generator: torch.Generator) -> None:
    encoder = ResNet12(**SMALL)
    params = encoder.initial(generator)
    images = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8, generator=generator)
    assert torch.equal(encoder(params, images, episode_statistics), encoder(params, images / 255, episode_statistics))


def test_every_parameter_belongs_to_a_block_and_every_norm_has_moments(generator: torch.Generator) -> None:
    encoder = ResNet12(**SMALL)
    params = encoder.initial(generator)
    assert all(name.startswith(encoder.blocks) for name in params)
    moments = measure(encoder, params, torch.rand(8, 3, 32, 32, generator=generator))
    layers = {name.removesuffix("norm.weight") for name in params if name.endswith("norm.weight")}
    assert {name.removesuffix("mean") for name in moments if name.endswith("mean")} == layers
    frozen, images = FrozenStatistics(moments), torch.rand(6, 3, 32, 32, generator=generator)
    alone = torch.cat([encoder(params, image[None], frozen) for image in images])
    torch.testing.assert_close(encoder(params, images, frozen), alone, atol=1e-5, rtol=1e-5)


def test_folding_keeps_the_embeddings(generator: torch.Generator) -> None:
    model = tiny_model(ResNet12(**SMALL))
    images = torch.rand(4, 3, 32, 32, generator=generator)
    torch.testing.assert_close(fold(model).embed(images), model.embed(images), atol=1e-4, rtol=1e-4)


def test_unit_embeddings_point_the_same_way_and_have_one_length(generator: torch.Generator) -> None:
    free, unit = (ResNet12(**SMALL, unit=unit) for unit in (False, True))
    params, images = free.initial(generator), torch.rand(5, 3, 32, 32, generator=generator)
    one, other = (encoder(params, images, episode_statistics) for encoder in (free, unit))
    torch.testing.assert_close(other, 7**0.5 * one / one.norm(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 15}, "at least 16 pixels"),
        ({"widths": (4, 8, 6)}, "four positive widths"),
        ({"widths": (4, 8, 6, 0)}, "four positive widths"),
        ({"norm": "none"}, "expected norm `batch`, `group` or `task`"),
        ({"norm": "group"}, "8 groups divide"),
        ({"projection": 0}, "positive projection"),
        ({"channels": 0}, "positive channels"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ResNet12(**{**SMALL, **options})
