"""Classes of inputs, and the tasks sampled from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Support:
    """The labelled examples of one task: inputs [N, ...], labels [N] int64 in 0..way-1, every class present."""

    inputs: Tensor
    labels: Tensor
    way: int


@dataclass(frozen=True, slots=True)
class Episode:
    """A sampled task with query labels: queries [M, ...], query_labels [M] int64 in 0..way-1."""

    support: Support
    queries: Tensor
    query_labels: Tensor


@dataclass(frozen=True, slots=True)
class ClassInputs:
    """Inputs grouped by class, ragged: those of class k are rows first[k] .. first[k+1]-1 of inputs [N, ...]."""

    names: tuple[str, ...]
    inputs: Tensor
    first: tuple[int, ...]

    @classmethod
    def of(cls, groups: Sequence[tuple[str, Tensor]]) -> "ClassInputs":
        """Join the inputs [n, ...] of each class."""
        first = [0]
        for _, inputs in groups:
            first.append(first[-1] + len(inputs))
        return cls(tuple(name for name, _ in groups), torch.cat([inputs for _, inputs in groups]), tuple(first))

    def __len__(self) -> int:
        return len(self.names)

    def size(self, index: int) -> int:
        """How many inputs a class has."""
        return self.first[index + 1] - self.first[index]

    def only(self, indices: Sequence[int]) -> "ClassInputs":
        """Keep some classes, in the order given."""
        return ClassInputs.of([(self.names[k], self.inputs[self.first[k] : self.first[k + 1]]) for k in indices])

    def with_rotations(self) -> "ClassInputs":
        """Add every class turned by 90, 180 and 270 degrees, as classes of their own (Santoro et al. 2016)."""
        names = [name if quarter == 0 else f"{name}@{90 * quarter}" for quarter in range(4) for name in self.names]
        inputs = torch.cat([torch.rot90(self.inputs, quarter, (-2, -1)) for quarter in range(4)])
        total = self.first[-1]
        first = [quarter * total + offset for quarter in range(4) for offset in self.first[:-1]]
        return ClassInputs(tuple(names), inputs, (*first, 4 * total))

    def replace_inputs(self, inputs: Tensor) -> "ClassInputs":
        """Give the same classes with other inputs, row for row: their embeddings, say."""
        return ClassInputs(self.names, inputs, self.first)


@dataclass(frozen=True, slots=True)
class EpisodeShape:
    """What kind of episode to sample: shots are drawn from a closed range, per class when `uneven`."""

    way: int
    shot: tuple[int, int]
    queries: int
    uneven: bool = False


def sample_episode(classes: ClassInputs, shape: EpisodeShape, generator: torch.Generator) -> Episode:
    """Draw an episode: `way` classes without replacement, support and queries disjoint within each.

    Raises:
        ValueError: too few classes, or a drawn class with too few inputs.
    """
    if shape.way > len(classes):
        raise ValueError(f"expected at least {shape.way} classes for a {shape.way}-way episode, got {len(classes)}")
    chosen = torch.randperm(len(classes), generator=generator)[: shape.way].tolist()
    lowest, highest = shape.shot
    shots = torch.randint(lowest, highest + 1, (shape.way if shape.uneven else 1,), generator=generator).tolist()
    drawn = [_draw(classes, k, shots[i % len(shots)], shape.queries, generator) for i, k in enumerate(chosen)]
    support = torch.cat([rows[: -shape.queries] for rows in drawn])
    queries = torch.cat([rows[-shape.queries :] for rows in drawn])
    shots_of = torch.tensor([len(rows) - shape.queries for rows in drawn])
    labels = torch.arange(shape.way)
    return Episode(
        Support(classes.inputs[support], labels.repeat_interleave(shots_of), shape.way),
        classes.inputs[queries],
        labels.repeat_interleave(shape.queries),
    )


def _draw(classes: ClassInputs, index: int, shot: int, queries: int, generator: torch.Generator) -> Tensor:
    size = classes.size(index)
    if size < shot + queries:
        raise ValueError(f"expected at least {shot + queries} inputs of class {classes.names[index]!r}, got {size}")
    return classes.first[index] + torch.randperm(size, generator=generator)[: shot + queries]
