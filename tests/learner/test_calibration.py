import math

import pytest
import torch
from torch.nn import functional as F

from service.learner import heads
from service.learner.calibration import HIGHEST, LOWEST, Calibration, Cell, cooled, fit_temperature


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.2])
def test_scores_that_are_drawn_from_are_found_again_from_logits_that_are_too_large_or_too_small(
    temperature: float, generator: torch.Generator
) -> None:
    logits = 3 * torch.randn(40_000, 6, generator=generator)
    labels = (logits / temperature).softmax(dim=1).multinomial(1, generator=generator).squeeze(1)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_has_a_smaller_loss(generator: torch.Generator) -> None:
    logits, labels = torch.randn(500, 4, generator=generator), torch.randint(4, (500,), generator=generator)
    logits[torch.arange(500), labels] += 2
    found = fit_temperature(logits, labels)
    losses = {factor: F.cross_entropy(logits / (factor * found), labels).item() for factor in (0.9, 0.99, 1.0, 1.01, 1.1)}
    assert min(losses, key=losses.__getitem__) == 1.0


def test_answers_that_are_all_right_or_all_wrong_end_at_the_limits() -> None:
    logits = torch.tensor([[2.0, 0.0], [3.0, 0.0]])
    assert fit_temperature(logits, torch.tensor([0, 0])) == pytest.approx(LOWEST, rel=1e-6)
    assert fit_temperature(logits, torch.tensor([1, 1])) == pytest.approx(HIGHEST, rel=1e-6)


# The temperature says which cell it is.
KINDS = [(way, shot, steps) for way in (5, 20) for shot in (1, 5) for steps in (0, 5)]
GRID = Calibration("none", 1, tuple(Cell(*kind, temperature=1 + place / 100) for place, kind in enumerate(KINDS)))


@pytest.mark.parametrize(
    ("shots", "steps", "cell"),
    [
        ([1] * 5, 0, (5, 1, 0)),
        ([5] * 20, 5, (20, 5, 5)),
        ([1] * 2, 0, (5, 1, 0)),
        ([1] * 200, 20, (20, 1, 5)),
        ([1] * 9, 0, (5, 1, 0)),  # 9 is 1.8 times 5, and 20 is 2.2 times 9
        ([1] * 11, 0, (20, 1, 0)),
        ([1] * 10, 0, (5, 1, 0)),  # as near to both
        ([1, 1, 1, 1, 8], 0, (5, 5, 0)),  # uneven: 2.4 on average
        ([1, 1, 1, 1, 6], 0, (5, 1, 0)),  # 2.0 on average
        ([50] * 5, 1, (5, 5, 0)),  # 2 is twice 1, and 6 is three times 2
        ([50] * 5, 2, (5, 5, 5)),
    ],
)
def test_a_task_takes_the_temperature_of_the_nearest_cell(shots: list[int], steps: int, cell: tuple[int, int, int]) -> None:
    assert GRID.temperature(shots, steps) == 1 + KINDS.index(cell) / 100


def test_the_order_of_classes_does_not_matter() -> None:
    assert GRID.temperature([1, 2, 9], 3) == GRID.temperature([9, 1, 2], 3)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ((1, 1, 0, 1.0), "way >= 2"),
        ((2, 0, 0, 1.0), "shot >= 1"),
        ((2, 1, -1, 1.0), "steps >= 0"),
        ((2, 1, 0, math.nan), "a temperature of"),
    ],
)
def test_a_cell_that_no_task_has_is_refused(cell: tuple[int, int, int, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Cell(*cell)


def test_a_cooled_head_gives_the_calibrated_scores_and_leaves_the_body_alone(generator: torch.Generator) -> None:
    params = {
        "head.weight": torch.randn(3, 4, generator=generator),
        "head.bias": torch.randn(3, generator=generator),
        "encoder.x": torch.ones(2),
    }
    embeddings, factor = torch.randn(5, 4, generator=generator), torch.tensor(0.7)
    changed = cooled(params, 1.7)
    torch.testing.assert_close(heads.logits(changed, embeddings, factor), heads.logits(params, embeddings, factor) / 1.7)
    assert torch.equal(changed["encoder.x"], params["encoder.x"])
