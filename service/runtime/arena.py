"""Adapted weights on the device: one table of rows, so that a batch gathers those of many sessions at once.

A row is a class of a head, or a whole body that was moved.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from service.sessions.counters import EVICTED


@dataclass(frozen=True, slots=True)
class Rows:
    """Adapted rows [R, length] float32, and the digest of the weights they are of; made only when they must be copied."""

    digest: str
    make: Callable[[], Tensor]


class RowArena:
    """A table of rows [capacity, length], shared by all sessions whose rows are as long.

    A session holds as many rows as it has classes, or one, any free ones: nothing is moved, and nothing can be fragmented. Rows are
    found by the digest of the weights they were copied from, so they can never be another session's. Those used longest
    ago are given up for new ones. It is used from one thread, the device's, so it needs no lock.
    """

    def __init__(self, length: int, *, device: torch.device, budget_bytes: int) -> None:
        self._capacity = max(1, budget_bytes // (4 * length))
        # A CPU gives memory as it is first written to; a CUDA device sets it aside now.
        self._table = torch.empty(self._capacity, length, device=device)
        self._free: list[int] = []
        self._untouched = 0
        self._held: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    def __contains__(self, digest: str) -> bool:
        return digest in self._held

    @property
    def rows_left(self) -> int:
        """How many rows nobody holds."""
        return len(self._free) + self._capacity - self._untouched

    def gather(self, wanted: Sequence[Rows]) -> Tensor | None:
        """Give the rows of sessions side by side: [T, R, length], where rows after a session's own repeat its first.

        Those not held are copied in first. None when there is no room for all of them together.
        """
        kept = {each.digest for each in wanted}
        found = [self._find(each.digest) or self._place(each, kept) for each in wanted]
        placed = [rows for rows in found if rows]
        if len(placed) < len(found):
            return None
        widest = max(map(len, placed))
        return self._table[torch.tensor([[*rows, *rows[:1] * (widest - len(rows))] for rows in placed])]

    def _find(self, digest: str) -> tuple[int, ...] | None:
        rows = self._held.get(digest)
        if rows is not None:
            self._held.move_to_end(digest)
        return rows

    def _place(self, wanted: Rows, kept: Collection[str]) -> tuple[int, ...] | None:
        values = wanted.make()
        if not self._make_room(len(values), kept):
            return None
        rows = tuple(self._next_row() for _ in range(len(values)))
        self._table[torch.tensor(rows)] = values.to(self._table.device)
        self._held[wanted.digest] = rows
        return rows

    def _make_room(self, wanted: int, kept: Collection[str]) -> bool:
        """Give up the rows of others, those used longest ago first; none when it would not be enough."""
        room, leaving = self.rows_left, []
        for digest, rows in self._held.items():
            if room >= wanted:
                break
            if digest not in kept:
                leaving.append(digest)
                room += len(rows)
        if room < wanted:
            return False
        for digest in leaving:
            self._free.extend(self._held.pop(digest))
            EVICTED.labels(tier="device", reason="room").inc()
        return True

    def _next_row(self) -> int:
        if self._free:
            return self._free.pop()
        self._untouched += 1
        return self._untouched - 1


class Arenas:
    """A table for each length of a row, made when it is first asked for."""

    def __init__(self, device: torch.device, *, budget_bytes: int) -> None:
        self._device = device
        self._budget_bytes = budget_bytes
        self._tables: dict[int, RowArena] = {}

    def of_length(self, length: int) -> RowArena:
        """Give the table of that length."""
        if length not in self._tables:
            self._tables[length] = RowArena(length, device=self._device, budget_bytes=self._budget_bytes)
        return self._tables[length]
