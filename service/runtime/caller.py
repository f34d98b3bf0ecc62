"""Who asks, and how long they wait."""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.errors import DeadlineError


async def always_there() -> None:
    """Say nothing: this caller waits until it is answered."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's sender.

    Attributes:
        tenant: whose sessions it sees, and whose turn its work takes.
        deadline: when it stops waiting, in seconds of `time.monotonic`; None waits for ever.
        still_there: raises when the caller has hung up.
        idempotency_key: names a request that may be sent again, so that it is done once.
    """

    tenant: str
    deadline: float | None = None
    still_there: Callable[[], Awaitable[None]] = always_there
    idempotency_key: str | None = None

    @property
    def seconds_left(self) -> float:
        """How long it still waits; infinite without a deadline, nothing or less when it has stopped."""
        return math.inf if self.deadline is None else self.deadline - time.monotonic()

    def require_time(self) -> None:
        """Raise DeadlineError when it has stopped waiting."""
        if self.seconds_left <= 0:
            raise DeadlineError("there was no time for this request within its Request-Timeout-Ms; try again later, or ask for less")
