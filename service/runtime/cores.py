"""Which cores threads run on.

The event loop and the decoding threads take turns with one interpreter lock. Handed from core to core it costs more
than the work in between (measured: docs/adr/0009), so they share one core, and the device's thread has the others.
"""

import os
from collections.abc import Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the event loop and what it starts, and those of a CPU computation; empty where nothing is pinned."""

    loop: Set[int]
    device: Set[int]


UNPINNED = Cores(frozenset(), frozenset())


def split_cores() -> Cores:
    """Choose the cores of this process; unpinned where there is only one, or where the system cannot pin."""
    if not hasattr(os, "sched_getaffinity"):
        return UNPINNED
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return UNPINNED
    # Several servers on one machine should not all choose the same.
    own = allowed[os.getpid() % len(allowed)]
    return Cores(frozenset({own}), frozenset(allowed) - {own})


def pin_this_thread(cores: Set[int]) -> None:
    """Keep the calling thread, and those it starts from now on, on some cores; on all as before when there are none."""
    if cores:
        os.sched_setaffinity(0, cores)
