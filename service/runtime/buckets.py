"""Work of about the same size goes through a batched product together, so that little of it is padding."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def in_buckets(
    compute: Callable[[Sequence[ItemT]], Sequence[ResultT]], items: Sequence[ItemT], alike: Callable[[ItemT], Hashable]
) -> list[ResultT]:
    """Compute items in groups that are `alike`; give the results in the items' order."""
    buckets: dict[Hashable, list[int]] = {}
    for place, item in enumerate(items):
        buckets.setdefault(alike(item), []).append(place)
    results: dict[int, ResultT] = {}
    for places in buckets.values():
        results |= zip(places, compute([items[place] for place in places]), strict=True)
    return [results[place] for place in range(len(items))]


def magnitudes(*sizes: int) -> tuple[int, ...]:
    """Give sizes as the powers of two that they reach up to, so that what is alike by them is padded to less than twice its size."""
    return tuple((size - 1).bit_length() for size in sizes)
