"""Classes of inputs, and the tasks sampled from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Support:
    """The labelled examples of one task: inputs [N, ...], labels [N] int64 in 0..way-1, every class present."""

    inputs: Tensor
    labels: Tensor
    way: int

    def on(self, device: torch.device) -> "Support":
        """Give the same examples on a device."""
        return replace(self, inputs=self.inputs.to(device), labels=self.labels.to(device))


@dataclass(frozen=True, slots=True)
class Episode:
    """A sampled task with query labels: queries [M, ...], query_labels [M] int64 in 0..way-1.

    With `turns`, support and queries are sorted by class, and every class has as many of each.
    """

    support: Support
    queries: Tensor
    query_labels: Tensor
    turns: bool = False

    def rounds(self) -> Iterator["Episode"]:
        """Give the episode itself; with `turns`, once for each example of a class, in turn the first of its support set.

        One pass through the encoder then says as much as many episodes.
        """
        if not self.turns:
            yield self
            return
        way, support = self.support.way, self.support
        examples = torch.cat([values.reshape(way, -1, *values.shape[1:]) for values in (support.inputs, self.queries)], dim=1)
        shot = len(support.labels) // way
        for turn in range(examples.shape[1]):
            turned = examples.roll(turn, dims=1)
            yield replace(
                self, support=replace(support, inputs=turned[:, :shot].flatten(0, 1)), queries=turned[:, shot:].flatten(0, 1), turns=False
            )


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

    def groups(self) -> list[list[int]]:
        """Give the indices of the classes whose names agree up to the last slash, group by group: an alphabet as one turn shows it."""
        groups: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            groups.setdefault(name.rpartition("/")[0], []).append(index)
        return list(groups.values())

    def in_large_groups(self, at_least: int) -> "ClassInputs":
        """Keep the classes of groups of at least so many: the alphabets that a whole task can come from.

        Raises:
            ValueError: there is no such group.
        """
        groups = self.groups()
        kept = [index for group in groups if len(group) >= at_least for index in group]
        if not kept:
            raise ValueError(f"expected groups of at least {at_least} classes, got none larger than {max(map(len, groups))}")
        return self.only(kept)

    def only(self, indices: Sequence[int]) -> "ClassInputs":
        """Keep some classes, in the order given."""
        return ClassInputs.of([(self.names[k], self.inputs[self.first[k] : self.first[k + 1]]) for k in indices])

    def with_rotations(self) -> "ClassInputs":
        """Add every class turned by 90, 180 and 270 degrees, as classes of their own (Santoro et al. 2016)."""
        names = [name if quarter == 0 else f"turned {90 * quarter}/{name}" for quarter in range(4) for name in self.names]
        inputs = torch.cat([torch.rot90(self.inputs, quarter, (-2, -1)) for quarter in range(4)])
        total = self.first[-1]
        first = [quarter * total + offset for quarter in range(4) for offset in self.first[:-1]]
        return ClassInputs(tuple(names), inputs, (*first, 4 * total))

    def with_reflections(self) -> "ClassInputs":
        """Add every class as a mirror shows it, as classes of their own."""
        names = (*self.names, *(f"mirrored/{name}" for name in self.names))
        first = (*self.first, *(self.first[-1] + offset for offset in self.first[1:]))
        return ClassInputs(names, torch.cat([self.inputs, self.inputs.flip(-1)]), first)

    def replace_inputs(self, inputs: Tensor) -> "ClassInputs":
        """Give the same classes with other inputs, row for row: their embeddings, say."""
        return ClassInputs(self.names, inputs, self.first)


@dataclass(frozen=True, slots=True)
class EpisodeShape:
    """What kind of episode to sample.

    Attributes:
        way: classes.
        shot: closed range that the number of support examples is drawn from, per class when `uneven`.
        queries: queries of each class.
        group: at most so many classes come from one group, an alphabet say (see `ClassInputs.groups`), then from the next; 0 mixes all.
        turns: every example of a class takes its turn as support (see `Episode.rounds`).
    """

    way: int
    shot: tuple[int, int]
    queries: int
    uneven: bool = False
    group: int = 0
    turns: bool = False


def sample_episode(classes: ClassInputs, shape: EpisodeShape, generator: torch.Generator) -> Episode:
    """Draw an episode: `way` classes without replacement, support and queries disjoint within each.

    Raises:
        ValueError: too few classes, or groups of them; or a drawn class with too few inputs.
    """
    chosen = _choose(classes, shape, generator)
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
        shape.turns,
    )


def _choose(classes: ClassInputs, shape: EpisodeShape, generator: torch.Generator) -> list[int]:
    if shape.way > len(classes):
        raise ValueError(f"expected at least {shape.way} classes for a {shape.way}-way episode, got {len(classes)}")
    if not shape.group:
        return torch.randperm(len(classes), generator=generator)[: shape.way].tolist()
    groups, chosen = classes.groups(), []
    for index in torch.randperm(len(groups), generator=generator).tolist():
        members = groups[index]
        chosen += [members[k] for k in torch.randperm(len(members), generator=generator)[: shape.group].tolist()]
        if len(chosen) >= shape.way:
            return chosen[: shape.way]
    raise ValueError(f"expected {shape.way} classes with at most {shape.group} from one group, got {len(chosen)}")


def _draw(classes: ClassInputs, index: int, shot: int, queries: int, generator: torch.Generator) -> Tensor:
    size = classes.size(index)
    if size < shot + queries:
        raise ValueError(f"expected at least {shot + queries} inputs of class {classes.names[index]!r}, got {size}")
    return classes.first[index] + torch.randperm(size, generator=generator)[: shot + queries]
