import math

import pytest
import torch

from service.learner.episodes import EpisodeShape
from service.training.sources.sinusoid import Sinusoids


def test_every_task_is_one_wave_of_the_paper(generator: torch.Generator) -> None:
    """The amplitude and phase that fit the support set exactly also give the queries, and lie in the paper's ranges."""
    for _ in range(20):
        episode = Sinusoids().episode(EpisodeShape(1, (10, 10), 50), generator)
        x, y = episode.support.inputs.double(), episode.support.labels.double()
        basis = torch.cat([x.sin(), x.cos()], dim=1)
        sine, cosine = torch.linalg.lstsq(basis, y).solution.flatten().tolist()
        amplitude, phase = math.hypot(sine, cosine), math.atan2(-cosine, sine)
        assert 0.09 < amplitude < 5.01
        assert -0.01 < phase < math.pi + 0.01
        queries = episode.queries.double()
        torch.testing.assert_close(episode.query_labels.double(), amplitude * torch.sin(queries - phase), atol=1e-4, rtol=1e-4)
        assert float(queries.abs().max()) <= 5


def test_shots_are_drawn_from_their_range_and_the_seed_names_the_task() -> None:
    shape = EpisodeShape(1, (5, 10), 3)
    tasks = [Sinusoids().episode(shape, torch.Generator().manual_seed(seed)) for seed in range(60)]
    assert {len(task.support.labels) for task in tasks} == set(range(5, 11))
    again = Sinusoids().episode(shape, torch.Generator().manual_seed(3))
    assert torch.equal(again.queries, tasks[3].queries)
    assert again.support.labels.shape == (len(again.support.inputs), 1)
    assert again.query_labels.shape == (3, 1)


@pytest.mark.parametrize("queries", [1, 7])
def test_queries_are_as_many_as_asked(queries: int, generator: torch.Generator) -> None:
    assert Sinusoids().episode(EpisodeShape(1, (5, 5), queries), generator).queries.shape == (queries, 1)
