import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.residual import Residual
from service.learner.recipe import Recipe
from service.learner.statistics import FrozenStatistics, KeptStatistics, SupportStatistics, episode_statistics, kept_shapes, measure
from tests.learner.tasks import distance
from tests.tiny import tiny_model

ENCODER = Conv4(width=8, size=16)
TASK = Conv4(width=8, size=16, norm="task")


def norm_of(weight: list[float], bias: list[float]) -> dict[str, Tensor]:
    return {"a.norm.weight": torch.tensor(weight), "a.norm.bias": torch.tensor(bias)}


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
    normalised = episode_statistics("a.", norm_of([2.0] * 4, [-1.0] * 4), values)
    torch.testing.assert_close(normalised.mean(dim=(0, 2, 3)), torch.full((4,), -1.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.var(dim=(0, 2, 3), correction=0), torch.full((4,), 4.0), atol=1e-3, rtol=0)


def test_frozen_statistics_normalise_by_the_moments_given() -> None:
    frozen = FrozenStatistics({"a.mean": torch.tensor([1.0, 2.0]), "a.variance": torch.tensor([4.0, 9.0])})
    normalised = frozen("a.", norm_of([10.0, 10.0], [0.0, 1.0]), torch.tensor([[3.0, 5.0]]))
    torch.testing.assert_close(normalised, torch.tensor([[10.0, 11.0]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm", ["group", "none"])
def test_an_encoder_without_batch_norm_has_no_statistics(norm: str) -> None:
    encoder = Conv4(width=8, size=16, groups=4, norm="group" if norm == "group" else "none")
    assert measure(encoder, tiny_model(encoder).params, torch.rand(2, 1, 16, 16)) == {}


def test_measured_moments_have_no_graph() -> None:
    params = {name: value.requires_grad_() for name, value in tiny_model(ENCODER).params.items()}
    assert not any(value.requires_grad for value in measure(ENCODER, params, torch.rand(4, 1, 16, 16)).values())


def test_task_norm_that_trusts_the_support_set_alone_is_batch_norm_on_it(generator: torch.Generator) -> None:
    support, query = (2 + 3 * torch.randn(count, 3, 5, 5, generator=generator) for count in (8, 1))
    params = norm_of([2.0, 1.0, 0.5], [0.0, 1.0, -1.0]) | {"a.norm.blend": torch.tensor([0.0, 99.0])}
    own = SupportStatistics(torch.full((8,), 1 / 8))
    torch.testing.assert_close(own("a.", params, support), episode_statistics("a.", params, support), rtol=1e-4, atol=1e-5)
    frozen = FrozenStatistics({"a.mean": own.kept["moments.a.mean"], "a.variance": own.kept["moments.a.variance"]})
    torch.testing.assert_close(KeptStatistics(own.kept)("a.", params, query), frozen("a.", params, query), rtol=1e-4, atol=1e-5)


def test_task_norm_that_trusts_each_input_alone_is_layer_norm(generator: torch.Generator) -> None:
    values = 2 + 3 * torch.randn(4, 3, 5, 5, generator=generator)
    params = norm_of([1.0] * 3, [0.0] * 3) | {"a.norm.blend": torch.tensor([0.0, -99.0])}
    got = SupportStatistics(torch.full((4,), 0.25))("a.", params, values)
    torch.testing.assert_close(got, F.layer_norm(values, [3, 5, 5]), rtol=1e-4, atol=1e-5)


def test_task_norm_weighs_every_class_alike(generator: torch.Generator) -> None:
    """One example of a class sent three times leaves the moments as they were."""
    values = torch.randn(2, 3, 5, 5, generator=generator)
    params = norm_of([1.0] * 3, [0.0] * 3) | {"a.norm.blend": torch.zeros(2)}
    once, again = SupportStatistics(torch.tensor([0.5, 0.5])), SupportStatistics(torch.tensor([1 / 6, 1 / 6, 1 / 6, 0.5]))
    once("a.", params, values)
    again("a.", params, values[[0, 0, 0, 1]])
    for name, value in once.kept.items():
        torch.testing.assert_close(again.kept[name], value)


def test_the_share_of_the_support_set_grows_with_it_when_that_was_learned() -> None:
    params = norm_of([1.0] * 3, [0.0] * 3) | {"a.norm.blend": torch.tensor([0.5, -1.0])}
    shares = []
    for count in (1, 4):
        own = SupportStatistics(torch.full((count,), 1 / count))
        own("a.", params, torch.zeros(count, 3, 2, 2))
        shares.append(own.kept["moments.a.share"].item())
    assert shares == pytest.approx([torch.tensor(-0.5).sigmoid().item(), torch.tensor(1.0).sigmoid().item()])


def test_an_example_of_no_weight_has_no_part_in_task_norm(generator: torch.Generator) -> None:
    """It pads a batch: neither the moments nor the size of the support set know of it."""
    values = torch.randn(3, 3, 5, 5, generator=generator)
    params = norm_of([1.0] * 3, [0.0] * 3) | {"a.norm.blend": torch.tensor([0.5, -1.0])}
    plain, padded = SupportStatistics(torch.tensor([0.5, 0.5])), SupportStatistics(torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(padded("a.", params, values)[:2], plain("a.", params, values[:2]))
    for name, value in plain.kept.items():
        torch.testing.assert_close(padded.kept[name], value)


def test_task_norm_keeps_the_moments_it_says_and_answers_each_query_alone(generator: torch.Generator) -> None:
    params = tiny_model(TASK, Recipe(scope="all", head="per_class", way=2)).params
    own = SupportStatistics(torch.full((6,), 1 / 6))
    TASK(params, torch.rand(6, 1, 16, 16, generator=generator), own)
    assert {name: value.shape for name, value in own.kept.items()} == kept_shapes(params)
    queries = torch.rand(5, 1, 16, 16, generator=generator)
    together = TASK(params, queries, KeptStatistics(own.kept))
    alone = torch.cat([TASK(params, query[None], KeptStatistics(own.kept)) for query in queries])
    assert distance(together, alone) < 1e-5
