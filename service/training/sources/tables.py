"""Tables: invented rows of numbers in classes, drawn on the spot by a seeded generator. No data on disk is needed.

A synthetic prior, not a collection of real tables: what it does not draw (categories, missing cells, classes of odd shapes) is not
learned from it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.episodes import Episode, EpisodeShape, Support

# Of a task, each drawn evenly, factors by their logarithms: how far class centres are apart in units of the scatter of a class, over all
# columns that matter together; the share of columns that do not; how much of the scatter columns have in common; what the scatter of
# one class differs from another's; the unit of a column; and how far from zero its numbers are, in that unit.
SEPARATION = (2.0, 16.0)
IRRELEVANT = (0.0, 0.6)
SHARED = (0.0, 0.8)
UNEVENNESS = (0.0, 0.4)
UNITS = (1e-2, 1e3)
OFFSETS = (-10.0, 10.0)

# A generator of torch listens to the last 32 bits of its seed alone; these share them.
FAMILIES = 16


@dataclass(frozen=True, slots=True)
class Tables:
    """All tasks whose classes are clusters of Gaussian scatter, in tables of so many columns.

    Attributes:
        width: numbers of a row as the encoder reads it; zeros after the table's own columns.
        columns: closed range that the number of columns is drawn from, small ones as often as large ones of as many times the size.
        seed: 0 to 15, names the family; tables of different families never coincide.
    """

    width: int
    columns: tuple[int, int]
    seed: int

    def __post_init__(self) -> None:
        """Refuse a family that would not be its own; raises ValueError."""
        if not 0 <= self.seed < FAMILIES:
            raise ValueError(f"expected a seed of 0 to {FAMILIES - 1}, got {self.seed}")

    def episode(self, shape: EpisodeShape, generator: torch.Generator) -> Episode:
        """Draw a task of `shape.way` classes: rows [N, width] and queries [M, width], float32."""
        dice = _own(generator, self.seed)
        shots = torch.randint(shape.shot[0], shape.shot[1] + 1, (shape.way if shape.uneven else 1,), generator=dice).expand(shape.way)
        columns = round(_spread((self.columns[0], self.columns[1]), dice))
        labels = torch.arange(shape.way)
        support, queries = labels.repeat_interleave(shots), labels.repeat_interleave(shape.queries)
        rows = F.pad(_rows(torch.cat([support, queries]), columns, dice), (0, self.width - columns))
        return Episode(Support(rows[: len(support)], support, shape.way), rows[len(support) :], queries)


def _own(generator: torch.Generator, seed: int) -> torch.Generator:
    """Give a generator of the family's own: the next of each, whatever else the same generator draws."""
    drawn = int(torch.randint(2**32 // FAMILIES, (), generator=generator))
    return torch.Generator().manual_seed(drawn * FAMILIES + seed)


def _rows(labels: Tensor, columns: int, dice: torch.Generator) -> Tensor:
    """Draw rows [N, columns] of labelled classes: centre and scatter in units of the scatter, then each column in units of its own."""
    way = int(labels.max()) + 1
    relevant = torch.rand(columns, generator=dice) >= _even(IRRELEVANT, dice)
    relevant[int(torch.randint(columns, (), generator=dice))] = True
    apart = _spread(SEPARATION, dice) / math.sqrt(2 * int(relevant.sum()))
    centres = apart * relevant * torch.randn(way, columns, generator=dice)
    return _in_units(centres[labels] + _scatter(labels, way, columns, dice), dice)


def _scatter(labels: Tensor, way: int, columns: int, dice: torch.Generator) -> Tensor:
    """Draw what rows differ from the centre of their class: columns have a part in common, and a class scatters more than another."""
    shared, unevenness = _even(SHARED, dice), _even(UNEVENNESS, dice)
    causes = max(1, columns // 3)
    mixing = torch.randn(causes, columns, generator=dice) / math.sqrt(causes)
    common = torch.randn(len(labels), causes, generator=dice) @ mixing
    own = torch.randn(len(labels), columns, generator=dice)
    widths = (unevenness * torch.randn(way, 1, generator=dice)).exp()
    return widths[labels] * (math.sqrt(shared) * common + math.sqrt(1 - shared) * own)


def _in_units(rows: Tensor, dice: torch.Generator) -> Tensor:
    """Scale every column of rows [N, columns] by a unit of its own, and move it away from zero."""
    columns = rows.shape[1]
    low, high = map(math.log, UNITS)
    units = (low + (high - low) * torch.rand(columns, generator=dice)).exp()
    offsets = OFFSETS[0] + (OFFSETS[1] - OFFSETS[0]) * torch.rand(columns, generator=dice)
    return units * (rows + offsets)


def _even(ends: tuple[float, float], dice: torch.Generator) -> float:
    return ends[0] + (ends[1] - ends[0]) * float(torch.rand((), generator=dice))


def _spread(ends: tuple[float, float], dice: torch.Generator) -> float:
    """Draw evenly by the logarithm."""
    return math.exp(_even((math.log(ends[0]), math.log(ends[1])), dice))
