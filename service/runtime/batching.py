"""Which waiting work goes to the device together: a pure function of the queue."""

from collections.abc import Hashable, Sequence
from typing import Protocol


class Waiting(Protocol):
    """Something in the queue."""

    @property
    def kind(self) -> Hashable:
        """Only work of one kind shares a batch: the same verb for the same meta-model."""
        ...

    @property
    def items(self) -> int:
        """How many inputs it puts through the encoder."""
        ...


def next_batch(queue: Sequence[Waiting], *, max_items: int) -> list[int]:
    """Choose the places of the next batch: the oldest, and what is of its kind and still fits, in order.

    Work never waits for company: the device takes what is there. One larger than `max_items` goes alone.
    """
    if not queue:
        return []
    chosen, items = [0], queue[0].items
    for place in range(1, len(queue)):
        if queue[place].kind == queue[0].kind and items + queue[place].items <= max_items:
            chosen.append(place)
            items += queue[place].items
    return chosen
