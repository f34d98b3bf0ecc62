import pytest
import torch
from torch.nn import functional as F

from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.residual import Residual
from service.learner.statistics import FrozenStatistics, episode_statistics, measure
from tests.learner.tasks import distance
from tests.tiny import tiny_model

ENCODER = Conv4(width=8, size=16)


def test_the_moments_of_the_first_layer_are_those_of_its_convolution(generator: torch.Generator) -> None:
    params, images = tiny_model(ENCODER).params, torch.rand(12, 1, 16, 16, generator=generator)
    moments = measure(ENCODER, params, images)
    values = F.conv2d(images, params["encoder.block1.conv.weight"], params["encoder.block1.conv.bias"], stride=2, padding=1)
    channels = values.transpose(0, 1).flatten(1)
    assert distance(moments["encoder.block1.mean"], torch.stack([row.mean() for row in channels])) < 1e-5
    variances = torch.stack([(row - row.mean()).square().mean() for row in channels])
    assert distance(moments["encoder.block1.variance"], variances) < 1e-5


def test_how_parameters_lie_in_memory_does_not_change_what_is_measured(generator: torch.Generator) -> None:
    encoder = Residual(size=32, widths=(32, 32), projection=8)
    params, images = tiny_model(encoder).params, torch.rand(1024, 1, 32, 32, generator=generator)
    laid_out = {name: value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value for name, value in params.items()}
    ours, theirs = measure(encoder, params, images), measure(encoder, laid_out, images)
    assert all(distance(ours[name], theirs[name]) < 1e-5 for name in ours)


def test_every_layer_is_measured() -> None:
    moments = measure(ENCODER, tiny_model(ENCODER).params, torch.rand(4, 1, 16, 16))
    assert set(moments) == {f"encoder.block{block}.{moment}" for block in (1, 2, 3, 4) for moment in ("mean", "variance")}
    assert all(value.shape == (8,) for value in moments.values())


def test_on_the_measured_batch_frozen_statistics_give_what_episode_statistics_give(generator: torch.Generator) -> None:
    params, images = tiny_model(ENCODER).params, torch.rand(12, 1, 16, 16, generator=generator)
    frozen = FrozenStatistics(measure(ENCODER, params, images))
    expected = ENCODER(params, images, episode_statistics)
    assert distance(ENCODER(params, images, frozen), expected) < 1e-5
    # On another batch they differ: the claim above is about the moments, not about all inputs.
    assert distance(ENCODER(params, images[:3], frozen), ENCODER(params, images[:3], episode_statistics)) > 1e-2


def test_episode_statistics_bring_every_channel_to_mean_zero_and_variance_one(generator: torch.Generator) -> None:
    values = 3 + 2 * torch.randn(6, 4, 5, 5, generator=generator)
    normalised = episode_statistics("any", values, torch.full((4,), 2.0), torch.full((4,), -1.0))
    torch.testing.assert_close(normalised.mean(dim=(0, 2, 3)), torch.full((4,), -1.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.var(dim=(0, 2, 3), correction=0), torch.full((4,), 4.0), atol=1e-3, rtol=0)


def test_frozen_statistics_normalise_by_the_moments_given() -> None:
    frozen = FrozenStatistics({"a.mean": torch.tensor([1.0, 2.0]), "a.variance": torch.tensor([4.0, 9.0])})
    normalised = frozen("a.", torch.tensor([[3.0, 5.0]]), torch.tensor([10.0, 10.0]), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(normalised, torch.tensor([[10.0, 11.0]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm", ["group", "none"])
def test_an_encoder_without_batch_norm_has_no_statistics(norm: str) -> None:
    encoder = Conv4(width=8, size=16, norm="group" if norm == "group" else "none")
    assert measure(encoder, tiny_model(encoder).params, torch.rand(2, 1, 16, 16)) == {}


def test_measured_moments_have_no_graph() -> None:
    params = {name: value.requires_grad_() for name, value in tiny_model(ENCODER).params.items()}
    assert not any(value.requires_grad for value in measure(ENCODER, params, torch.rand(4, 1, 16, 16)).values())
