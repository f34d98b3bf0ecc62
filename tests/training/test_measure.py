import pytest
import torch

from service.learner.encoders.conv4 import Conv4
from service.learner.episodes import ClassInputs, EpisodeShape
from service.learner.recipe import Recipe
from service.training.evaluate import evaluate, pool
from service.training.measure import TIMED, WARM_UP, Judging, adaptation_time, judge, shapes, usual
from tests.tiny import HEAD_RECIPE, tiny_model
from tests.training.runs import tiny_data

MODEL = tiny_model(Conv4(width=4, size=16), HEAD_RECIPE)
TEST = tiny_data()["test"]


def kinds(chosen: list[EpisodeShape]) -> list[tuple[int, tuple[int, int], bool]]:
    return [(shape.way, shape.shot, shape.uneven) for shape in chosen]


def test_a_report_goes_as_far_as_the_classes_do() -> None:
    """Eight classes of six drawings allow two of the ways, and five shots beside one query."""
    assert kinds(shapes(TEST, HEAD_RECIPE, queries=1)) == [(way, (shot, shot), False) for way in (2, 5) for shot in (1, 5)]
    assert kinds(shapes(TEST, HEAD_RECIPE, queries=2)) == [(way, (1, 1), False) for way in (2, 5)]


def test_classes_that_are_large_and_many_enough_have_every_cell() -> None:
    large = ClassInputs.of([(str(k), torch.zeros(11, 1)) for k in range(100)])
    shots = [((1, 1), False), ((5, 5), False), ((10, 10), False), ((1, 10), True)]
    expected = [(way, *shot) for way in (2, 5, 20, 50, 100) for shot in shots]
    assert sorted(kinds(shapes(large, HEAD_RECIPE, queries=1))) == sorted(expected)


def test_a_per_class_head_is_reported_at_its_own_way() -> None:
    recipe = Recipe(scope="all", head="per_class", way=3, steps_default=1, steps_max=1)
    assert {shape.way for shape in shapes(TEST, recipe, queries=1)} == {3}


def test_the_usual_cells_are_those_of_the_literature_or_the_first() -> None:
    chosen = shapes(TEST, HEAD_RECIPE, queries=1)
    assert kinds(usual(chosen)) == [(5, (1, 1), False), (5, (5, 5), False)]
    assert usual(chosen[:2]) == chosen[:1]


@pytest.mark.parametrize("group", [0, 3])
def test_a_row_is_what_evaluating_gives(group: int) -> None:
    prepared, shape = pool(MODEL, TEST), EpisodeShape(3, (1, 3), 2, uneven=True, group=group)
    row = judge(MODEL, prepared, shape, Judging(episodes=6, queries=2, seed=4), steps=2)
    expected = evaluate(MODEL, prepared, shape, steps=2, episodes=6, seed=4)
    assert (row.accuracy, row.ci95, row.loss, row.calibration_error) == (
        expected.accuracy,
        expected.ci95,
        expected.loss,
        expected.calibration_error,
    )
    assert (row.kind, row.way, row.shot, row.steps, row.episodes, row.queries_per_class) == ("classification", 3, (1, 3), 2, 6, 2)


def test_the_time_is_the_median_of_runs_after_the_first_ones() -> None:
    """A clock on which the n-th adaptation takes n seconds."""
    ticks = iter([tick for n in range(WARM_UP + TIMED) for tick in (100.0 * n, 100.0 * n + n)])
    found = adaptation_time(MODEL, TEST, EpisodeShape(3, (2, 2), 1), steps=1, clock=lambda: next(ticks))
    assert (found.way, found.shot, found.steps) == (3, 2, 1)
    assert found.median == pytest.approx(1000 * (WARM_UP + (TIMED - 1) / 2))
    assert found.quartiles[0] < found.median < found.quartiles[1]
