import torch

from service.learner.losses import accuracy, balanced_weights, cross_entropy
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
