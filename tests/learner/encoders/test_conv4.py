from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.encoder import with_channels_last
from service.learner.parameters import Params
from service.learner.statistics import FrozenStatistics, episode_statistics
from tests.learner.tasks import distance
from tests.tiny import tiny_model

FROZEN = FrozenStatistics({})


def reference(encoder: Conv4, params: Params) -> nn.Sequential:
    """The same network made of torch's own modules, batch norm on the statistics of the batch."""
    layers: list[nn.Module] = []
    for index in range(4):
        prefix, inputs = f"encoder.block{index + 1}.", encoder.channels if index == 0 else encoder.width
        stride = 2 if encoder.downsample == "stride" else 1
        convolution = nn.Conv2d(inputs, encoder.width, 3, stride=stride, padding=1)
        convolution.load_state_dict({"weight": params[f"{prefix}conv.weight"], "bias": params[f"{prefix}conv.bias"]})
        layers.append(convolution)
        if encoder.norm != "none":
            norm = nn.BatchNorm2d(encoder.width) if encoder.norm == "batch" else nn.GroupNorm(encoder.groups, encoder.width)
            norm.load_state_dict({"weight": params[f"{prefix}norm.weight"], "bias": params[f"{prefix}norm.bias"]}, strict=False)
            layers.append(norm)
        layers.append(nn.ReLU() if encoder.activation == "relu" else nn.Softplus(beta=4))
        if encoder.downsample == "pool":
            layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    if encoder.projection:
        linear = nn.Linear(encoder.embedding, encoder.projection, bias=False)
        linear.weight = nn.Parameter(params["encoder.projection.weight"])
        layers.append(linear)
    return nn.Sequential(*layers)


def shaken(params: Params, generator: torch.Generator) -> dict[str, Tensor]:
    """Other biases and norms than zeros and ones, which would hide one that is left out."""
    return {name: value + 0.1 * torch.randn(value.shape, generator=generator) for name, value in params.items()}


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "batch"},
        {"norm": "group", "groups": 2},
        {"norm": "none", "activation": "softplus"},
        {"norm": "batch", "downsample": "pool", "channels": 3},
        {"norm": "group", "groups": 4, "projection": 5, "size": 21},
    ],
    ids=str,
)
def test_it_is_the_network_that_torchs_own_modules_make(options: dict[str, Any], generator: torch.Generator) -> None:
    encoder = Conv4(**{"width": 8, "size": 28, **options})
    params = shaken(encoder.initial(generator), generator)
    images = torch.rand(5, *encoder.input_shape, generator=generator)
    got = encoder(params, images, episode_statistics)
    assert got.shape == (5, encoder.embedding)
    assert distance(got, reference(encoder, params)(images)) < 1e-5


@pytest.mark.parametrize(
    ("options", "embedding"),
    [
        ({"size": 28, "width": 64}, 64 * 2 * 2),
        ({"size": 28, "width": 64, "downsample": "pool"}, 64),
        ({"size": 84, "width": 8}, 8 * 6 * 6),
        ({"size": 28, "width": 64, "projection": 100}, 100),
    ],
)
def test_the_length_of_an_embedding_is_known_without_running_it(options: dict[str, Any], embedding: int) -> None:
    assert Conv4(**options).embedding == embedding


def test_bytes_are_read_as_shares_of_255(generator: torch.Generator) -> None:
    encoder = Conv4(width=8, size=16, norm="none")
    params = encoder.initial(generator)
    images = torch.randint(256, (3, 1, 16, 16), dtype=torch.uint8, generator=generator)
    assert distance(encoder(params, images, FROZEN), encoder(params, images / 255, FROZEN)) < 1e-6


def test_group_norm_looks_at_no_other_image(generator: torch.Generator) -> None:
    encoder = Conv4(width=8, size=16, norm="group", groups=2)
    params, images = encoder.initial(generator), torch.rand(4, 1, 16, 16, generator=generator)
    together = encoder(params, images, FROZEN)
    for index in range(4):
        assert distance(together[index], encoder(params, images[index : index + 1], FROZEN)[0]) < 1e-5


def test_parameters_are_named_by_block_and_cover_them_all(generator: torch.Generator) -> None:
    encoder = Conv4(width=8, size=16, projection=5)
    params = encoder.initial(generator)
    assert all(name.startswith(encoder.blocks) for name in params)
    assert {block: sum(name.startswith(block) for name in params) for block in encoder.blocks} == {
        "encoder.block1.": 4,
        "encoder.block2.": 4,
        "encoder.block3.": 4,
        "encoder.block4.": 4,
        "encoder.projection.": 1,
    }
    assert not any("norm" in name for name in Conv4(width=8, size=16, norm="none").initial(generator))


def test_fresh_weights_keep_the_size_of_what_flows_through(generator: torch.Generator) -> None:
    weight = Conv4(width=64, size=16).initial(generator)["encoder.block2.conv.weight"]
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 8, "downsample": "pool"}, "at least 16 pixels"),
        ({"width": 6, "norm": "group"}, "8 groups divide"),
        ({"width": 0}, "positive width"),
        ({"size": 0}, "positive size"),
        ({"channels": -1}, "positive channels"),
        ({"groups": 0, "norm": "group"}, "positive groups"),
        ({"projection": 0}, "positive projection"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Conv4(**options)


def test_its_meta_model_embeds_with_frozen_statistics(generator: torch.Generator) -> None:
    model = tiny_model(Conv4(width=8, size=16))
    images = torch.rand(3, 1, 16, 16, generator=generator)
    expected = model.encoder(model.params, images, FrozenStatistics(model.statistics))
    assert torch.equal(model.embed(images), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_lie_with_their_channels_last_even_a_single_one(channels: int) -> None:
    pictures = torch.rand(2, channels, 16, 16)
    laid = with_channels_last(pictures)
    assert torch.equal(laid, pictures)
    assert laid.stride() == (channels * 256, 1, channels * 16, channels)
    kernel = torch.rand(4, channels, 3, 3)  # of an inner step, which has lost its layout
    assert torch.nn.functional.conv2d(laid, kernel).stride()[1] == 1
