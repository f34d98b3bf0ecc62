"""Which waiting work goes to the device together, and when: pure functions of the queue and the clock."""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Policy:
    """How batches are made.

    Attributes:
        max_items: inputs in a batch; one request larger than that goes alone.
        wait_seconds: how long the oldest may wait for company that is known to come.
        quantum: inputs that every tenant may send in its turn, before the next tenant has its own.
    """

    max_items: int = 2048
    wait_seconds: float = 0.008
    quantum: int = 64


class Waiting(Protocol):
    """Something in the queue."""

    @property
    def kind(self) -> Hashable:
        """Only work of one kind shares a batch: the same verb for the same meta-model."""
        ...

    @property
    def tenant(self) -> str:
        """Whose turn it takes."""
        ...

    @property
    def items(self) -> int:
        """How many inputs it puts through the encoder."""
        ...

    @property
    def submitted(self) -> float:
        """When it began to wait, in seconds of a monotonic clock."""
        ...

    @property
    def deadline(self) -> float | None:
        """When nobody waits for it any more, by the same clock."""
        ...


def is_late(work: Waiting, now: float) -> bool:
    """Whether its deadline has passed, so that it is dropped before it costs device time."""
    return work.deadline is not None and work.deadline <= now


def patience(queue: Sequence[Waiting], *, coming: bool, now: float, policy: Policy) -> float:
    """Give the seconds that the idle device should still wait for company; 0 is go.

    It never waits when nothing is coming, when a batch is full, when the oldest has waited long enough, or past a deadline.
    """
    if not queue or not coming or sum(work.items for work in queue) >= policy.max_items:
        return 0.0
    until = min(work.submitted for work in queue) + policy.wait_seconds
    if any(work.deadline is not None and work.deadline <= until for work in queue):
        return 0.0
    return max(0.0, until - now)


@dataclass(frozen=True, slots=True)
class Batch:
    """The places in the queue that go together, and the credit of each tenant that still waits, the next in turn first."""

    places: Sequence[int] = ()
    credit: Mapping[str, int] = field(default_factory=dict)


def next_batch(queue: Sequence[Waiting], credit: Mapping[str, int], policy: Policy) -> Batch:
    """Choose the next batch by deficit round robin over tenants; a tenant's own work stays in order.

    The tenant in turn decides the kind by its oldest work. Tenants then take turns: in each, a tenant may send `quantum`
    more inputs of that kind than it has already, as long as they fit. What a tenant could not send is kept as credit for
    as long as it waits, so that large requests are delayed but never starved, and nobody is by many small ones.

    Source: Shreedhar and Varghese (1995), Efficient fair queueing using deficit round robin.
    """
    turns = _turns(queue, credit)
    if not turns:
        return Batch()
    kind = next(work.kind for work in queue if work.tenant == turns[0])
    lanes = {name: deque[int]() for name in turns}
    for place, work in enumerate(queue):
        if work.kind == kind:
            lanes[work.tenant].append(place)
    left, room, chosen = {name: credit.get(name, 0) for name in turns}, policy.max_items, list[int]()
    while any(lanes.values()):
        for name, lane in lanes.items():
            left[name] += policy.quantum if lane else 0
            while lane and queue[lane[0]].items <= left[name]:
                items = queue[lane[0]].items
                if chosen and items > room:
                    lane.clear()  # what does not fit waits, and what is behind it too
                    break
                chosen.append(lane.popleft())
                left[name], room = left[name] - items, room - items
    return Batch(sorted(chosen), _kept(queue, set(chosen), left, last=queue[chosen[-1]].tenant))


def _turns(queue: Sequence[Waiting], credit: Mapping[str, int]) -> list[str]:
    """Give the tenants that wait: those with credit in their order, then new ones as they came."""
    waiting = dict.fromkeys(work.tenant for work in queue)
    return [*(name for name in credit if name in waiting), *(name for name in waiting if name not in credit)]


def _kept(queue: Sequence[Waiting], taken: Set[int], left: Mapping[str, int], *, last: str) -> dict[str, int]:
    """Keep the credit of tenants that still wait, beginning with the one after the last that was served."""
    waiting, turns = {work.tenant for place, work in enumerate(queue) if place not in taken}, list(left)
    after = turns.index(last) + 1
    return {name: left[name] for name in turns[after:] + turns[:after] if name in waiting}
