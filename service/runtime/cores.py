"""Which cores threads run on.

The event loop, the decoding threads and the device's thread take turns with one interpreter lock. Handed from core to
core it costs about as much as the work in between (measured: docs/adr/0009), so it can pay to let them share one.
"""

import os
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

# A tenth of the share of those before it: at the lowest priority a full machine would let it wait for minutes.
BEHIND = 10

Pinning = Literal["auto", "none", "split", "one"]


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the event loop and what it starts, and those of a CPU computation; empty where nothing is pinned."""

    loop: Set[int]
    device: Set[int]


UNPINNED = Cores(frozenset(), frozenset())


def choose_cores(pinning: Pinning, *, torch_threads: int, place: int | None = None) -> Cores:
    """Choose the cores of this process; unpinned where there is only one, or where the system cannot pin.

    Args:
        pinning: `split` gives the event loop and what it starts one core and the device's thread the others; `one` lets
            all of them share one; `none` leaves everything to the scheduler; `auto` is `one` when torch has one thread,
            else `none`.
        torch_threads: how many threads a computation has.
        place: which of the cores, counted round; the process id by default, so that servers on one machine do not all choose the same.
    """
    if pinning == "auto":
        pinning = "one" if torch_threads == 1 else "none"
    if pinning == "none" or not hasattr(os, "sched_getaffinity"):
        return UNPINNED
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return UNPINNED
    own = frozenset({allowed[(os.getpid() if place is None else place) % len(allowed)]})
    return Cores(own, own if pinning == "one" else frozenset(allowed) - own)


def threads_of_each(processes: int) -> int:
    """Give how many threads a CPU computation has in each of so many processes that share the cores."""
    return max(1, (os.cpu_count() or 1) // processes)


def pin_this_thread(cores: Set[int]) -> None:
    """Keep the calling thread, and those it starts from now on, on some cores; on all as before when there are none."""
    if cores:
        os.sched_setaffinity(0, cores)


def allowed_cores() -> Set[int]:
    """Give the cores that the calling thread may run on; empty where the system cannot pin."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def put_behind(program: int, cores: Set[int]) -> None:
    """Let a program that this one just started run on some cores, behind all others there."""
    # It begins on the core of the thread that started it, which may be the busiest there is.
    with suppress(ProcessLookupError):
        if cores:
            os.sched_setaffinity(program, cores)
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, program, max(BEHIND, os.getpriority(os.PRIO_PROCESS, program)))
