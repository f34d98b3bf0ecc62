from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from service.learner.encoders.torchvision_network import TorchvisionNetwork, traced
from service.learner.meta_model import fold
from service.learner.parameters import Params
from service.learner.statistics import EPSILON, FrozenStatistics, episode_statistics, measure
from tests.learner.tasks import distance
from tests.tiny import tiny_model

NETWORKS = ["resnet18", "resnet34", "resnet50", "mobilenet_v3_small"]

# Where each keeps its classifier.
CLASSIFIERS: Mapping[str, str] = {"mobilenet_v3_small": "classifier"}


def original(network: str, *, seed: int = 0) -> nn.Module:
    """Torchvision's own network, randomly initialised, its classifier left out."""
    torch.manual_seed(seed)
    module: nn.Module = models.get_model(network, weights=None)
    setattr(module, CLASSIFIERS.get(network, "fc"), nn.Identity())
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.eps = EPSILON
            nn.init.normal_(each.weight, 1, 0.1)
            nn.init.normal_(each.bias, 0, 0.1)
    return module


def loaded(encoder: TorchvisionNetwork, module: nn.Module) -> dict[str, Tensor]:
    return encoder.pretrained(encoder.initial(torch.Generator().manual_seed(0)), dict(module.state_dict()))


def projected(params: Params, features: Tensor) -> Tensor:
    return features @ params["encoder.projection.weight"].T


def as_imagenet(images: Tensor) -> Tensor:
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images - mean[:, None, None]) / deviation[:, None, None]


@pytest.mark.parametrize("network", NETWORKS)
def test_on_the_statistics_of_a_batch_it_is_torchvisions_network_in_training(network: str, generator: torch.Generator) -> None:
    encoder, module = TorchvisionNetwork(network, size=40, projection=6), original(network)
    params, images = loaded(encoder, module), torch.rand(6, 3, 40, 40, generator=generator)
    with torch.no_grad():
        expected = projected(params, module.train()(as_imagenet(images)))
        got = encoder(params, images, episode_statistics)
    assert got.shape == (6, encoder.embedding)
    assert distance(got, expected) < 1e-4


@pytest.mark.parametrize("network", NETWORKS)
def test_on_frozen_statistics_it_is_torchvisions_network_in_use_and_looks_at_one_picture_alone(
    network: str, generator: torch.Generator
) -> None:
    encoder, module = TorchvisionNetwork(network, size=40, projection=6), original(network)
    params = loaded(encoder, module)
    moments = measure(encoder, params, torch.rand(16, 3, 40, 40, generator=generator))
    for layer in traced(network).layers:
        if layer.norm:
            norm = module.get_submodule(layer.norm)
            norm.load_state_dict(
                {"running_mean": moments[f"{layer.prefix}mean"], "running_var": moments[f"{layer.prefix}variance"]}, strict=False
            )
    images = torch.rand(3, 3, 40, 40, generator=generator)
    with torch.no_grad():
        together = encoder(params, images, FrozenStatistics(moments))
        alone = torch.cat([encoder(params, image[None], FrozenStatistics(moments)) for image in images])
        expected = projected(params, module.eval()(as_imagenet(images)))
    assert distance(together, expected) < 1e-4
    assert distance(alone, together) < 1e-4


@pytest.mark.parametrize("network", ["resnet18", "mobilenet_v3_small"])
def test_folding_keeps_the_embeddings(network: str, generator: torch.Generator) -> None:
    model = tiny_model(TorchvisionNetwork(network, size=32, projection=6))
    images = torch.rand(3, 3, 32, 32, generator=generator)
    with torch.no_grad():
        assert distance(fold(model).embed(images), model.embed(images)) < 1e-4


def test_every_parameter_belongs_to_a_block_and_every_norm_has_moments(generator: torch.Generator) -> None:
    for network in ("resnet18", "mobilenet_v3_small"):
        encoder = TorchvisionNetwork(network, size=32)
        params = encoder.initial(generator)
        assert all(name.startswith(encoder.blocks) for name in params)
        moments = measure(encoder, params, torch.rand(4, 3, 32, 32, generator=generator))
        layers = {name.removesuffix("norm.weight") for name in params if name.endswith("norm.weight")}
        assert {name.removesuffix("mean") for name in moments if name.endswith("mean")} == layers
    assert TorchvisionNetwork("resnet18").blocks == (
        "encoder.conv1.", "encoder.layer1.", "encoder.layer2.", "encoder.layer3.", "encoder.layer4.", "encoder.projection.",
    )  # fmt: skip


def test_the_gradient_reaches_every_parameter(generator: torch.Generator) -> None:
    encoder = TorchvisionNetwork("resnet18", size=32, projection=6)
    params = {name: value.requires_grad_() for name, value in encoder.initial(generator).items()}
    loss = encoder(params, torch.rand(4, 3, 32, 32, generator=generator), episode_statistics).square().sum()
    assert all(gradient.abs().max() > 0 for gradient in torch.autograd.grad(loss, list(params.values())))


def test_group_norm_in_place_of_batch_norm_looks_at_no_other_picture(generator: torch.Generator) -> None:
    encoder = TorchvisionNetwork("resnet18", size=32, norm="group", projection=6)
    params, images = encoder.initial(generator), torch.rand(3, 3, 32, 32, generator=generator)
    with torch.no_grad():
        alone = torch.cat([encoder(params, image[None], episode_statistics) for image in images])
        assert distance(encoder(params, images, episode_statistics), alone) < 1e-5
    assert measure(encoder, params, images) == {}


def test_grey_is_the_colour_whose_channels_agree_and_bytes_are_shares_of_255(generator: torch.Generator) -> None:
    colour, grey = (TorchvisionNetwork("resnet18", channels=channels, size=32) for channels in (3, 1))
    params = colour.initial(generator)
    images = torch.randint(256, (3, 1, 32, 32), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        expected = colour(params, images.repeat(1, 3, 1, 1) / 255, episode_statistics)
        assert distance(grey(params, images, episode_statistics), expected) < 1e-6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"network": "resnet19"}, "networks? among those of torchvision.models .*resnet18.*got 'resnet19'"),
        ({"network": "vit_b_16"}, "expected a torchvision network of convolutions"),
        ({"network": "densenet121"}, "expected a torchvision network of convolutions"),
        ({"network": "squeezenet1_0"}, "linear classifier"),
        ({"network": "regnet_y_400mf"}, "take another"),
        ({"network": "vgg11_bn", "size": 28}, "expected larger pictures"),
        ({"network": "resnet18", "norm": "none"}, "expected norm `batch`, `group` or `task`"),
        ({"network": "resnet18", "norm": "group", "groups": 7}, "number of groups that divides"),
        ({"network": "resnet18", "channels": 2}, "1 channel or 3"),
        ({"network": "resnet18", "projection": 0}, "positive projection"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TorchvisionNetwork(**options)


def test_weights_of_another_network_are_refused_by_the_name_that_does_not_fit() -> None:
    encoder = TorchvisionNetwork("resnet18", size=32)
    params = encoder.initial(torch.Generator())
    with pytest.raises(ValueError, match=r"weights of torchvision's resnet18, found no 'layer1.0.conv1.weight'"):
        encoder.pretrained(
            params, {"conv1.weight": params["encoder.conv1.conv.weight"], "bn1.weight": torch.ones(64), "bn1.bias": torch.ones(64)}
        )
    with pytest.raises(ValueError, match=r"layer1.0.conv1.weight of shape \(64, 64, 3, 3\), got \(64, 64, 1, 1\)"):
        encoder.pretrained(params, dict(models.resnet50(weights=None).state_dict()))
