import pytest
import torch

from service.learner.losses import accuracy, balanced_weights, calibration_error, cross_entropy
from tests.learner.tasks import labels_of


def test_every_class_counts_the_same_and_all_sum_to_one() -> None:
    labels = labels_of([1, 4, 2])
    weights = balanced_weights(labels, 3)
    totals = [weights[labels == label].sum() for label in range(3)]
    torch.testing.assert_close(torch.stack(totals), torch.full((3,), 1 / 3))


def test_the_balanced_loss_is_the_mean_of_the_class_means(generator: torch.Generator) -> None:
    labels, logits = labels_of([1, 30, 2]), torch.randn(33, 3, generator=generator)
    losses = [-logits[row].log_softmax(dim=0)[label] for row, label in enumerate(labels)]
    means = [torch.stack([loss for loss, label in zip(losses, labels, strict=True) if label == k]).mean() for k in range(3)]
    torch.testing.assert_close(cross_entropy(logits, labels, balanced_weights(labels, 3)), torch.stack(means).mean())


def test_repeating_every_example_of_one_class_changes_no_loss(generator: torch.Generator) -> None:
    labels, logits = labels_of([2, 3]), torch.randn(5, 2, generator=generator)
    rows = torch.tensor([0, 1, 0, 1, 0, 1, 2, 3, 4])
    once = cross_entropy(logits, labels, balanced_weights(labels, 2))
    thrice = cross_entropy(logits[rows], labels[rows], balanced_weights(labels[rows], 2))
    torch.testing.assert_close(thrice, once)
    unbalanced = torch.full((9,), 1 / 9)
    assert not torch.isclose(cross_entropy(logits[rows], labels[rows], unbalanced), once)


def test_accuracy_is_the_share_of_rows_whose_largest_logit_is_the_labels() -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, -1.0], [0.0, 5.0]])
    assert accuracy(logits, torch.tensor([1, 0, 1, 1])).item() == 0.75


def test_the_calibration_error_is_the_mean_gap_over_bins_of_equal_mass() -> None:
    scores = torch.tensor([0.9, 0.5, 0.6, 0.8])
    correct = torch.tensor([True, True, False, True])
    # Sorted, in two bins: (0.5, 0.6) of which one is right, (0.8, 0.9) of which both are.
    assert calibration_error(scores, correct, bins=2) == pytest.approx((abs(1 - 1.1) + abs(2 - 1.7)) / 4)
    assert calibration_error(scores, correct, bins=1) == pytest.approx(abs(3 - 2.8) / 4)


def test_scores_that_say_how_often_they_are_right_have_almost_no_calibration_error(generator: torch.Generator) -> None:
    scores = torch.rand(100_000, generator=generator)
    correct = torch.rand(100_000, generator=generator) < scores
    assert calibration_error(scores, correct) < 0.01
    assert calibration_error(scores.sqrt(), correct) > 0.1


def test_fewer_predictions_than_bins_have_a_bin_each() -> None:
    assert calibration_error(torch.tensor([0.75, 0.5]), torch.tensor([True, False])) == pytest.approx((0.25 + 0.5) / 2)
