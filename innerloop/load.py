"""How fast a server answers, as one client sees it: callers that ask without pause, each after its last answer."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from innerloop.errors import QueueFullError


@dataclass(frozen=True, slots=True)
class Load:
    """What the callers saw.

    Attributes:
        latencies: seconds of every call that was answered, shortest first.
        refused: calls that met a full queue; they are not among the latencies.
        seconds: from the first call to the last answer.
        own_cpu: share of one core that this process used itself; near 1, it is the client that was measured.
    """

    latencies: Sequence[float]
    refused: int
    seconds: float
    own_cpu: float

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds within which that share (0..1) of the calls was answered; NaN without any."""
        return self.latencies[max(math.ceil(share * len(self.latencies)) - 1, 0)] if self.latencies else math.nan


async def measure(call: Callable[[int], Awaitable[object]], *, callers: int, seconds: float) -> Load:
    """What `callers` see who make calls, given a number of their own each time, until `seconds` are over.

    Raises:
        InnerloopError: a call failed, otherwise than by a full queue.
    """
    latencies: list[float] = []
    refused = 0
    start, cpu = time.perf_counter(), time.process_time()
    numbers = iter(range(2**62))

    async def caller() -> None:
        nonlocal refused
        while time.perf_counter() - start < seconds:
            began = time.perf_counter()
            try:
                await call(next(numbers))
                latencies.append(time.perf_counter() - began)
            except QueueFullError as error:
                refused += 1
                await asyncio.sleep(error.retry_after_seconds or 0)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # every caller's is the same
    took = time.perf_counter() - start
    return Load(sorted(latencies), refused, took, (time.process_time() - cpu) / took)
