import math

import pytest
import torch
from torch import Tensor

from service.learner.episodes import Support
from service.learner.familiarity import PRIOR_EXAMPLES, REACH, measures_distance, reaches, spread
from service.learner.recipe import Recipe
from service.learner.task_batch import TaskBatch
from tests.learner.tasks import labels_of
from tests.tiny import HEAD_RECIPE


def task(shots: list[int], *, noise: float = 1.0, length: int = 200, seed: int = 0) -> Support:
    """Classes far apart, every number of an example off its class by `noise`: their spread is length · noise²."""
    generator, labels = torch.Generator().manual_seed(seed), labels_of(shots)
    embeddings = 100 * labels[:, None] + noise * torch.randn(len(labels), length, generator=generator)
    return Support(embeddings, labels, len(shots))


def reach(support: Support, expected: float | None) -> float | None:
    (found,) = reaches(TaskBatch.of([support]), expected)
    return found


def by_hand(support: Support, expected: float | None) -> float:
    """The formula, class by class."""
    own = [support.inputs[support.labels == label] for label in range(support.way)]
    scattered = sum(float((each - each.mean(dim=0)).square().sum()) for each in own)
    prior = 0 if expected is None else PRIOR_EXAMPLES
    variance = (scattered + prior * (expected or 0)) / (sum(len(each) - 1 for each in own) + prior)
    return REACH * variance * (1 + sum(1 / len(each) for each in own) / support.way)


@pytest.mark.parametrize("expected", [None, 150.0])
@pytest.mark.parametrize("shots", [[2, 2], [5, 5, 5], [1, 30, 2]])
def test_it_is_the_spread_of_the_classes_and_of_what_is_expected(shots: list[int], expected: float | None) -> None:
    support = task(shots)
    order = torch.randperm(len(support.labels), generator=torch.Generator().manual_seed(1))
    shuffled = Support(support.inputs[order], support.labels[order], support.way)
    assert reach(shuffled, expected) == pytest.approx(by_hand(support, expected), rel=1e-4)


def test_one_shot_shows_no_spread_so_that_what_is_expected_is_all_there_is() -> None:
    assert reach(task([1, 1, 1]), None) is None
    assert reach(task([1, 1, 1]), 150.0) == pytest.approx(REACH * 150 * 2)


def test_many_examples_overrule_what_is_expected() -> None:
    few, many = (reach(task([shot, shot], noise=3.0), 200.0) for shot in (2, 100))
    assert few is not None
    assert many is not None
    assert few < 0.5 * REACH * 1800 * 1.5
    assert many == pytest.approx(REACH * 1800 * 1.01, rel=0.05)


@pytest.mark.parametrize("shots", [[3, 3], [20, 20, 20]])
def test_a_fresh_example_is_as_far_away_as_it_says_but_for_the_factor(shots: list[int]) -> None:
    """A mean of few examples is itself off, which the reach allows for."""
    support = task(shots, length=2000)
    centre = support.inputs[support.labels == 0].mean(dim=0)
    fresh = torch.randn(200, 2000, generator=torch.Generator().manual_seed(5))
    found = reach(support, None)
    assert found is not None
    assert found / REACH == pytest.approx(float((fresh - centre).square().sum(dim=1).mean()), rel=0.05)


@pytest.mark.parametrize("factor", [0.0, math.nan, 1e30])
def test_examples_that_say_nothing_give_none(factor: float) -> None:
    support = task([2, 2])
    assert reach(Support(factor * support.inputs, support.labels, 2), None) is None


def test_a_task_has_the_same_reach_whoever_shares_its_batch() -> None:
    tasks = [task(shots, seed=seed) for seed, shots in enumerate(([1, 1], [5, 5, 5], [1, 30, 2], [1] * 7, [2, 2]))]
    for expected in (None, 10.0):
        together = reaches(TaskBatch.of(tasks), expected)
        for got, alone in zip(together, tasks, strict=True):
            own = reach(alone, expected)
            assert got == (None if own is None else pytest.approx(own, rel=1e-5))


def test_the_spread_of_classes_is_unbiased_and_single_examples_have_none() -> None:
    generator = torch.Generator().manual_seed(0)
    classes: list[Tensor] = [3 * torch.randn(size, 50, generator=generator) for size in [2] * 300 + [1, 40]]
    assert spread(classes) == pytest.approx(450, rel=0.05)
    assert spread([torch.ones(1, 4), torch.zeros(1, 4)]) is None


def test_only_a_prototype_head_over_a_space_that_stays_measures_distance() -> None:
    assert measures_distance(HEAD_RECIPE)
    assert not measures_distance(Recipe(head="zero"))
    assert not measures_distance(Recipe(scope="all"))
