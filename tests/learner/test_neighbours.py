import pytest
import torch
from torch import Tensor

from service.learner.neighbours import CHUNK, nearest


@pytest.fixture
def examples(generator: torch.Generator) -> Tensor:
    return torch.randn(40, 16, generator=generator)


def test_the_nearest_are_those_of_the_slow_loop(examples: Tensor, generator: torch.Generator) -> None:
    queries = torch.randn(7, 16, generator=generator)
    places, distances = nearest(queries, examples, 3)
    for query, found, far in zip(queries, places.tolist(), distances, strict=True):
        slow = torch.stack([(query - example).square().sum().sqrt() for example in examples])
        assert found == slow.argsort()[:3].tolist()
        assert torch.allclose(far, slow[found])


def test_an_example_is_at_no_distance_from_itself(examples: Tensor) -> None:
    places, distances = nearest(1e3 * examples, 1e3 * examples, 1)
    assert places.flatten().tolist() == list(range(40))
    assert distances.flatten().tolist() == [0.0] * 40


def test_a_query_has_the_same_neighbours_alone_and_among_many(examples: Tensor, generator: torch.Generator) -> None:
    queries = torch.randn(CHUNK + 3, 16, generator=generator)
    places, distances = nearest(queries, examples, 5)
    for row in (0, CHUNK - 1, CHUNK, CHUNK + 2):
        alone_places, alone_distances = nearest(queries[row : row + 1], examples, 5)
        assert torch.equal(alone_places[0], places[row])
        assert torch.equal(alone_distances[0], distances[row])


def test_all_are_given_where_there_are_fewer_than_asked_for(examples: Tensor) -> None:
    places, distances = nearest(examples[:2], examples[:4], 10)
    assert places.shape == distances.shape == (2, 4)
