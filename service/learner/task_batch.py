"""Support sets side by side: tasks of different way and shot in tensors of one shape, what a task does not have masked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from service.learner import heads
from service.learner.episodes import Support


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """T support sets, those of fewer examples padded by their own first one: what is new might overflow where their own do not.

    Attributes:
        ways: how many classes each task has, or numbers, for a regression.
        inputs: [T, N, ...], embeddings or what an encoder reads.
        labels: [T, N] int64; targets [T, N, outputs] of a regression.
        own: [T, N], whether an example is the task's.
        targets: [T, N, W], one-hot, zeros after a task's own; the labels of a regression.
        absent: [T, W], whether a class is none of the task's.
    """

    ways: tuple[int, ...]
    inputs: Tensor
    labels: Tensor
    own: Tensor
    targets: Tensor
    absent: Tensor

    @classmethod
    def of(cls, supports: Sequence[Support]) -> "TaskBatch":
        """Put support sets, their inputs [N_t, ...], side by side."""
        ways, device = [support.way for support in supports], supports[0].inputs.device
        counts = [len(support.labels) for support in supports]
        own = torch.arange(max(counts), device=device) < torch.tensor(counts, device=device).unsqueeze(1)
        labels = _side_by_side([support.labels for support in supports], own)
        inputs = _side_by_side([support.inputs for support in supports], own)
        absent = torch.arange(max(ways), device=device) >= torch.tensor(ways, device=device).unsqueeze(1)
        return cls(tuple(ways), inputs, labels, own, _targets(labels, own, max(ways), inputs), absent)

    @property
    def shots(self) -> Tensor:
        """Examples of each class, one for absent ones, so that it divides: [T, W]."""
        return self.targets.sum(dim=1).clamp(min=1)

    def of_own_class(self, values: Tensor) -> Tensor:
        """Give each example what its class has, of values [T, W]: [T, N], zero after a task's own."""
        return torch.bmm(self.targets, values.unsqueeze(2)).squeeze(2)

    def weights(self) -> Tensor:
        """Give what each example counts in its task's support loss, every class the same, or every answer of a regression: [T, N]."""
        if self.labels.dim() == 3:
            return self.own / self.own.sum(dim=1, keepdim=True)
        way = (~self.absent).sum(dim=1, keepdim=True)
        return self.of_own_class(1 / (way * self.shots))

    def standardised(self) -> "TaskBatch":
        """Give the same tasks with embeddings that each task's own examples standardise."""
        seen, _, _ = heads.standardised(self.inputs, self.weights())
        return replace(self, inputs=seen * self.own.unsqueeze(2))

    def centres(self) -> Tensor:
        """Give the prototypes, zeros for absent classes: [T, W, D]."""
        return heads.prototypes(self.inputs, self.targets)


def _targets(labels: Tensor, own: Tensor, widest: int, inputs: Tensor) -> Tensor:
    """Write labels [T, N] as one-hot rows [T, N, W], floating as inputs that are no pixels; targets of a regression are what they are."""
    if labels.dim() == 3:
        return labels
    dtype = inputs.dtype if inputs.is_floating_point() else torch.get_default_dtype()
    return F.one_hot(labels, widest).to(dtype) * own.unsqueeze(2)


def _side_by_side(values: Sequence[Tensor], own: Tensor) -> Tensor:
    """Put tensors [N_t, ...] side by side, the first row of the shorter ones again where none is their own: [T, N, ...]."""
    if all(len(each) == own.shape[1] for each in values):
        return torch.stack(list(values))
    padded = pad_sequence(list(values), batch_first=True)
    return torch.where(own.view(*own.shape, *[1] * (padded.dim() - 2)), padded, padded[:, :1])
