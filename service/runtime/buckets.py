"""Work of about the same size goes through a batched product together, so that little of it is padding."""

from collections.abc import Callable, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def in_buckets(
    compute: Callable[[Sequence[ItemT]], Sequence[ResultT]], items: Sequence[ItemT], size: Callable[[ItemT], tuple[int, ...]]
) -> list[ResultT]:
    """Compute items in groups whose sizes lie between the same powers of two; give the results in the items' order."""
    buckets: dict[tuple[int, ...], list[int]] = {}
    for place, item in enumerate(items):
        buckets.setdefault(tuple((extent - 1).bit_length() for extent in size(item)), []).append(place)
    results: dict[int, ResultT] = {}
    for places in buckets.values():
        results |= zip(places, compute([items[place] for place in places]), strict=True)
    return [results[place] for place in range(len(items))]
