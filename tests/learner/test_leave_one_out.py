import pytest
import torch
from torch import Tensor

from service.learner.episodes import Support
from service.learner.leave_one_out import leave_one_out_accuracies
from service.learner.losses import balanced_weights
from service.learner.task_batch import TaskBatch
from tests.learner.tasks import labels_of


def leave_one_out_accuracy(embeddings: Tensor, labels: Tensor, way: int) -> float | None:
    """The figure of one task."""
    (found,) = leave_one_out_accuracies(TaskBatch.of([Support(embeddings, labels, way)]))
    return found


def slow(embeddings: Tensor, labels: Tensor, way: int) -> float:
    """Refit every prototype without one example, and ask which is nearest to it; examples of single-shot classes do not count."""
    right = []
    for left_out in range(len(labels)):
        kept = torch.arange(len(labels)) != left_out
        if not bool((labels[kept] == labels[left_out]).any()):
            continue
        centres = torch.stack([embeddings[kept & (labels == label)].mean(dim=0) for label in range(way)])
        nearest = (centres - embeddings[left_out]).square().sum(dim=1).argmin()
        right.append(int(nearest) == int(labels[left_out]))
    return sum(right) / len(right)


@pytest.mark.parametrize("shots", [[2, 2], [5, 5, 5], [1, 30, 2], [1, 1, 2, 1, 9]])
@pytest.mark.parametrize("seed", range(5))
def test_it_equals_refitting_without_each_example(shots: list[int], seed: int) -> None:
    generator, labels = torch.Generator().manual_seed(seed), labels_of(shots)
    centres = 1.5 * torch.randn(len(shots), 6, generator=generator)
    embeddings = centres[labels] + torch.randn(len(labels), 6, generator=generator)
    order = torch.randperm(len(labels), generator=generator)
    got = leave_one_out_accuracy(embeddings[order], labels[order], len(shots))
    assert got == pytest.approx(slow(embeddings, labels, len(shots)))


def test_the_tasks_above_are_neither_trivial_nor_hopeless() -> None:
    generator, labels = torch.Generator().manual_seed(0), labels_of([5, 5, 5])
    embeddings = 1.5 * torch.randn(3, 6, generator=generator)[labels] + torch.randn(15, 6, generator=generator)
    assert 0.3 < slow(embeddings, labels, 3) < 1


def test_an_example_does_not_vouch_for_itself() -> None:
    """The example at 10 is nearer to its own prototype, 5, only as long as it pulls it there from 0."""
    embeddings = torch.tensor([[0.0], [10.0], [2.0], [3.0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert leave_one_out_accuracy(embeddings, labels, 2) == 0.5


def test_single_shots_alone_give_no_figure() -> None:
    assert leave_one_out_accuracy(torch.randn(4, 3), torch.arange(4), 4) is None


def test_a_task_has_the_same_figure_whoever_shares_its_batch() -> None:
    generator, tasks = torch.Generator().manual_seed(0), []
    for shots in ([1, 1], [5, 5, 5], [1, 30, 2], [1] * 7, [2, 2, 2, 2]):
        labels = labels_of(shots)
        tasks.append(Support(labels[:, None] + torch.randn(len(labels), 6, generator=generator), labels, len(shots)))
    together = leave_one_out_accuracies(TaskBatch.of(tasks))
    assert together == [leave_one_out_accuracy(task.inputs, task.labels, task.way) for task in tasks]
    assert [figure is None for figure in together] == [True, False, False, True, False]


def test_standardised_tasks_are_judged_as_each_standardised_by_hand(generator: torch.Generator) -> None:
    """One column tells the classes apart, another, a thousand times as large, does not."""
    told = []
    supports = []
    for shots in ([3, 3], [3, 2], [1, 4, 4]):
        labels = labels_of(shots)
        inputs = torch.stack(
            [labels + 0.2 * torch.randn(len(labels), generator=generator), 1e3 * torch.randn(len(labels), generator=generator)], 1
        )
        weights = balanced_weights(labels, len(shots))
        mean = weights @ inputs
        by_hand = (inputs - mean) / (weights @ (inputs - mean).square()).sqrt()
        told.append(leave_one_out_accuracy(by_hand, labels, len(shots)))
        supports.append(Support(inputs, labels, len(shots)))
    batch = TaskBatch.of(supports)
    assert leave_one_out_accuracies(batch.standardised()) == told != leave_one_out_accuracies(batch)
