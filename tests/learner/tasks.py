"""Small random tasks, and what "equal" means between two ways to compute one thing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.learner import heads
from service.learner.episodes import Episode, Support
from service.learner.parameters import Params


def labels_of(shots: Sequence[int]) -> Tensor:
    """Labels of a support set with these shots: [0, 0, 1, …]."""
    return torch.arange(len(shots)).repeat_interleave(torch.tensor(shots))


def random_support(shape: Sequence[int], shots: Sequence[int], generator: torch.Generator) -> Support:
    """Random inputs in 0..1 of a shape, with these shots; every class has a brightness of its own, so that there is something to learn."""
    labels = labels_of(shots)
    return Support(random_inputs(shape, labels, generator), labels, len(shots))


def random_episode(shape: Sequence[int], shots: Sequence[int], queries: int, generator: torch.Generator) -> Episode:
    """Pure noise with labels, so that no loss goes to zero and no gradient with it."""
    labels, query_labels = labels_of(shots), labels_of([queries] * len(shots))
    inputs, asked = (torch.rand(len(each), *shape, generator=generator) for each in (labels, query_labels))
    return Episode(Support(inputs, labels, len(shots)), asked, query_labels)


def random_inputs(shape: Sequence[int], labels: Tensor, generator: torch.Generator) -> Tensor:
    centres = torch.rand(int(labels.max()) + 1, *shape, generator=torch.Generator().manual_seed(1))
    return (centres[labels] + torch.rand(len(labels), *shape, generator=generator)) / 2


def double(params: Params) -> dict[str, Tensor]:
    return {name: value.to(torch.float64) for name, value in params.items()}


def double_episode(episode: Episode) -> Episode:
    support = Support(episode.support.inputs.double(), episode.support.labels, episode.support.way)
    return Episode(support, episode.queries.double(), episode.query_labels)


def distance(got: Tensor, expected: Tensor) -> float:
    """How far apart two tensors are, as a share of the expected one's norm."""
    return float((got - expected).detach().norm() / expected.detach().norm().clamp(min=1e-12))


def assert_same_weights(got: Params, expected: Params, *, within: float = 1e-5) -> None:
    """DESIGN 3, "equal means", of adapted weights.

    What moved of the body is judged as one vector, and a bias of the head beside its row: some numbers of either are rounding alone, the
    bias of a convolution before a group norm, say.
    """
    assert {name: value.shape for name, value in got.items()} == {name: value.shape for name, value in expected.items()}
    body = [name for name in expected if not name.startswith("head.")]
    if body:
        assert distance(*(torch.cat([params[name].flatten() for name in body]) for params in (got, expected))) < within
    assert distance(heads.rows(got), heads.rows(expected)) < within
