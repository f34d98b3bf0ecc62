"""Which cores threads run on.

The event loop, the decoding threads and the device's thread take turns with one interpreter lock. Handed from core to
core it costs about as much as the work in between (measured: docs/adr/0009), so it can pay to let them share one.
"""

import os
from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

Pinning = Literal["auto", "none", "split", "one"]


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the event loop and what it starts, and those of a CPU computation; empty where nothing is pinned."""

    loop: Set[int]
    device: Set[int]


UNPINNED = Cores(frozenset(), frozenset())


def choose_cores(pinning: Pinning, *, torch_threads: int) -> Cores:
    """Choose the cores of this process; unpinned where there is only one, or where the system cannot pin.

    Args:
        pinning: `split` gives the event loop and what it starts one core and the device's thread the others; `one` lets
            all of them share one; `none` leaves everything to the scheduler; `auto` is `one` when torch has one thread,
            else `none`.
        torch_threads: how many threads a computation has.
    """
    if pinning == "auto":
        pinning = "one" if torch_threads == 1 else "none"
    if pinning == "none" or not hasattr(os, "sched_getaffinity"):
        return UNPINNED
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return UNPINNED
    # Several servers on one machine should not all choose the same.
    own = frozenset({allowed[os.getpid() % len(allowed)]})
    return Cores(own, own if pinning == "one" else frozenset(allowed) - own)


def pin_this_thread(cores: Set[int]) -> None:
    """Keep the calling thread, and those it starts from now on, on some cores; on all as before when there are none."""
    if cores:
        os.sched_setaffinity(0, cores)
