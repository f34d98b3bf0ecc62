"""Adapted weights in this process's memory: between the device's arena and the store."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from service.sessions.counters import EVICTED

Weights = Mapping[str, Tensor]

# What an entry costs beside its tensors' numbers.
OVERHEAD_BYTES = 1024


@dataclass(slots=True)
class _Entry:
    weights: Weights
    size: int
    leases: int = 0


class HotWeights:
    """Weights found by their digest, so that they can never be another session's; bounded in bytes.

    Those used longest ago leave first, those in use never: then the budget is passed until they are given back. However many ask
    for what is not there, it is loaded once. It is used from one thread, the event loop's.
    """

    def __init__(self, *, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Weights]] = {}
        self._bytes = 0

    def __contains__(self, digest: str) -> bool:
        return digest in self._entries

    @property
    def size_bytes(self) -> int:
        """What all entries take, about."""
        return self._bytes

    async def acquire(self, digest: str, load: Callable[[], Awaitable[Weights]]) -> Weights:
        """Give the weights of a digest and hold them until `release`; what `load` raises is raised here."""
        while digest not in self._entries:
            # Of those who wait, one may be cancelled: the load goes on for the others.
            self._keep(digest, await asyncio.shield(self._load(digest, load)))
        entry = self._entries[digest]
        entry.leases += 1
        self._entries.move_to_end(digest)
        return entry.weights

    def release(self, digest: str) -> None:
        """Give weights back that `acquire` gave."""
        self._entries[digest].leases -= 1
        self._evict()

    def _load(self, digest: str, load: Callable[[], Awaitable[Weights]]) -> asyncio.Task[Weights]:
        if digest not in self._loading:
            self._loading[digest] = asyncio.ensure_future(load())
            self._loading[digest].add_done_callback(lambda _: self._loading.pop(digest))
        return self._loading[digest]

    def _keep(self, digest: str, weights: Weights) -> None:
        if digest in self._entries:
            return
        entry = _Entry(weights, OVERHEAD_BYTES + sum(value.nbytes for value in weights.values()), leases=1)
        self._entries[digest] = entry
        self._bytes += entry.size
        self._evict()
        entry.leases -= 1

    def _evict(self) -> None:
        if self._bytes <= self._budget_bytes:
            return
        for digest in [digest for digest, entry in self._entries.items() if entry.leases == 0]:
            self._bytes -= self._entries.pop(digest).size
            EVICTED.labels(tier="host", reason="room").inc()
            if self._bytes <= self._budget_bytes:
                return
