import random

import pytest
import torch
from prometheus_client import REGISTRY
from torch import Tensor

from service.runtime.arena import RowArena, Rows

CPU = torch.device("cpu")
LENGTH = 5


def arena(rows: int) -> RowArena:
    return RowArena(LENGTH, device=CPU, budget_bytes=4 * LENGTH * rows)


def values(name: int, way: int) -> Tensor:
    """Rows that no other name or place has."""
    return 1000 * name + torch.arange(way * LENGTH, dtype=torch.float32).view(way, LENGTH)


def head(name: int, way: int) -> Rows:
    return Rows(f"digest {name}", lambda: values(name, way))


def not_again(name: int) -> Rows:
    """A head that must be there already."""

    def fail() -> Tensor:
        raise AssertionError("copied twice")

    return Rows(f"digest {name}", fail)


def given_up() -> float:
    """How many heads any arena has given up, as /metrics counts them."""
    return REGISTRY.get_sample_value("innerloop_evicted_total", {"tier": "device", "reason": "room"}) or 0.0


def gathered(table: RowArena, *heads: Rows) -> Tensor:
    found = table.gather(heads)
    assert found is not None
    return found


def test_heads_of_different_way_lie_side_by_side() -> None:
    found = gathered(arena(10), head(1, 2), head(2, 5), head(3, 3))
    assert found.shape == (3, 5, LENGTH)
    for place, (name, way) in enumerate([(1, 2), (2, 5), (3, 3)]):
        assert torch.equal(found[place, :way], values(name, way))
        assert torch.equal(found[place, way:], values(name, way)[:1].expand(5 - way, LENGTH))


def test_a_head_is_copied_once() -> None:
    table = arena(10)
    gathered(table, head(1, 3))
    assert torch.equal(gathered(table, not_again(1), head(2, 3), not_again(1))[2], values(1, 3))


def test_the_head_used_longest_ago_is_given_up() -> None:
    table = arena(6)
    gathered(table, head(1, 2), head(2, 2), head(3, 2))
    gathered(table, not_again(1))
    before = given_up()
    gathered(table, head(4, 1))
    assert given_up() == before + 1
    assert ["digest 1" in table, "digest 2" in table, "digest 3" in table] == [True, False, True]


def test_no_head_of_the_batch_itself_is_given_up_and_nothing_is_lost_when_they_do_not_fit() -> None:
    table = arena(6)
    gathered(table, head(1, 4))
    assert table.gather([not_again(1), head(2, 3)]) is None
    assert torch.equal(gathered(table, not_again(1))[0], values(1, 4))


def test_a_head_larger_than_the_table_does_not_fit_and_drives_nobody_out() -> None:
    table = arena(4)
    gathered(table, head(1, 3))
    assert table.gather([head(2, 5)]) is None
    assert "digest 1" in table


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_use_gives_everybody_their_own_rows_and_loses_none(seed: int) -> None:
    """Thousands of heads of 1 to 9 rows through 64: what is gathered is always right, and every row is held or free."""
    chance, table = random.Random(seed), arena(64)  # noqa: S311 - only the order of a test depends on it
    ways = {name: chance.randint(1, 9) for name in range(200)}
    for _ in range(1500):
        names = chance.sample(sorted(ways), chance.randint(1, 6))
        found = gathered(table, *(head(name, ways[name]) for name in names))
        for place, name in enumerate(names):
            assert torch.equal(found[place, : ways[name]], values(name, ways[name]))
        held = sum(way for name, way in ways.items() if f"digest {name}" in table)
        assert held + table.rows_left == 64
