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
    """T support sets.

    Attributes:
        ways: how many classes each task has, or numbers, for a regression.
        inputs: [T, N, ...], embeddings or what an encoder reads, zeros after a task's own.
        labels: [T, N] int64, 0 after a task's own; targets [T, N, outputs] of a regression, zeros after them.
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
        sizes = torch.tensor([len(support.labels) for support in supports], device=device)
        labels, inputs = (
            _side_by_side([support.labels for support in supports]),
            _side_by_side([support.inputs for support in supports]),
        )
        own = torch.arange(labels.shape[1], device=device) < sizes.unsqueeze(1)
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

    def with_own(self, values: Tensor) -> Tensor:
        """Give values [T, N, ...] of examples with each task's first one in place of the zeros: no number is there that is not its own."""
        places = torch.arange(self.own.shape[1], device=self.own.device) * self.own
        return values[torch.arange(len(values), device=self.own.device).unsqueeze(1), places]

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


def _side_by_side(values: Sequence[Tensor]) -> Tensor:
    """Put tensors [N_t, ...] side by side, zeros after the shorter ones: [T, N, ...]."""
    alike = all(len(each) == len(values[0]) for each in values)
    return torch.stack(list(values)) if alike else pad_sequence(list(values), batch_first=True)
