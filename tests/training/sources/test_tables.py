import torch

from service.learner.episodes import EpisodeShape
from service.training.sources.tables import Tables

SHAPE = EpisodeShape(3, (2, 5), 4, uneven=True)
TABLES = Tables(16, (2, 9), seed=1)


def drawn(tables: Tables = TABLES, shape: EpisodeShape = SHAPE, *, count: int = 60) -> list[torch.Tensor]:
    """The support sets of episodes, one after the other."""
    return [tables.episode(shape, torch.Generator().manual_seed(seed)).support.inputs for seed in range(count)]


def columns_of(rows: torch.Tensor) -> int:
    return int((rows != 0).any(dim=0).nonzero().max()) + 1


def test_a_table_has_columns_of_its_range_and_zeros_behind_them() -> None:
    rows = drawn()
    assert {each.shape[1] for each in rows} == {16}
    assert {columns_of(each) for each in rows} == set(range(2, 10))


def test_every_class_has_shots_of_its_range_and_as_many_queries_as_asked(generator: torch.Generator) -> None:
    episodes = [TABLES.episode(SHAPE, generator) for _ in range(40)]
    shots = torch.stack([each.support.labels.bincount() for each in episodes])
    assert set(shots.flatten().tolist()) == {2, 3, 4, 5}
    assert bool((shots != shots[:, :1]).any())
    assert all(each.query_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 for each in episodes)
    even = TABLES.episode(EpisodeShape(3, (2, 2), 4), generator)
    assert even.support.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_the_same_seeds_draw_the_same_table_and_another_family_never_does() -> None:
    assert all(torch.equal(one, other) for one, other in zip(drawn(), drawn(), strict=True))
    others = drawn(Tables(16, (2, 9), seed=2))
    assert not any(one.shape == other.shape and torch.equal(one, other) for one in drawn() for other in others)


def test_columns_have_units_and_zero_points_of_their_own(generator: torch.Generator) -> None:
    rows = Tables(8, (8, 8), seed=1).episode(EpisodeShape(2, (200, 200), 1), generator).support.inputs
    spread, far = rows.std(dim=0), (rows.mean(dim=0) / rows.std(dim=0)).abs()
    assert spread.max() / spread.min() > 10
    assert far.max() > 1


def test_classes_are_told_apart_by_some_columns_only() -> None:
    """By many rows: of a column that does not matter, classes have the same mean."""
    shape = EpisodeShape(2, (4000, 4000), 1)
    apart = []
    for seed in range(12):
        episode = Tables(12, (12, 12), seed=1).episode(shape, torch.Generator().manual_seed(seed))
        one, other = episode.support.inputs[:4000], episode.support.inputs[4000:]
        apart.append((one.mean(dim=0) - other.mean(dim=0)).abs() / one.std(dim=0))
    matters = torch.stack(apart) > 0.15
    assert bool(matters.any(dim=1).all())
    assert 0.4 < float(matters.float().mean()) < 0.95
