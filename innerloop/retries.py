"""Which calls are sent again, and when; nothing is sent here, and nobody waits."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from innerloop.errors import (
    ApiError,
    DrainingError,
    IdempotencyKeyBusyError,
    InnerloopError,
    QueueFullError,
    ServerUnreachableError,
    StoreUnavailableError,
    UnexpectedAnswerError,
)
from innerloop.exchange import Call

# What a server says of itself that will pass.
PASSING = (QueueFullError, DrainingError, StoreUnavailableError, IdempotencyKeyBusyError)
_PROXY = (429, 502, 503, 504)  # a proxy answered for a server that it did not or could not ask


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and how long, a call that is safe to send again is sent again.

    Attributes:
        tries: how often at most, the first time counted; 1 never sends again.
        deadline_seconds: for all tries of one call and the waits between them; no wait begins that would end later.
        first_wait_seconds: about how long to wait after the first try; twice as long after each further one, less up to half by chance.
        longest_wait_seconds: the longest of these waits. A `Retry-After` of the server, or of a proxy, may ask for a longer one.
    """

    tries: int = 4
    deadline_seconds: float = 120.0
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 10.0


class Tries:
    """The tries of one call."""

    def __init__(
        self,
        retries: Retries,
        call: Call[Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._retries = retries
        self._left = retries.tries - 1 if call.repeatable else 0
        self._done_if = call.done_if
        self._lost = False
        self._wait = retries.first_wait_seconds
        self._clock = clock
        self._chance = chance
        self._until = clock() + retries.deadline_seconds

    def timeout(self, most: float | None) -> float:
        """How long the next try may wait for the network."""
        left = max(self._until - self._clock(), 0.001)
        return left if most is None else min(most, left)

    def has_done(self, error: InnerloopError) -> bool:
        """Whether the error only says that an earlier try, whose answer was lost, did what the call is for."""
        return self._lost and self._done_if is not None and isinstance(error, self._done_if)

    def wait_after(self, error: InnerloopError) -> float:
        """How many seconds to wait before the next try; raises the error when there is none."""
        wait = self._next_wait(getattr(error, "retry_after_seconds", None))
        if self._left < 1 or not _passes(error) or self._clock() + wait >= self._until:
            raise error
        self._left -= 1
        self._lost = self._lost or not isinstance(error, ApiError)
        return wait

    def _next_wait(self, asked: float | None) -> float:
        own = min(self._wait, self._retries.longest_wait_seconds) * (1 - self._chance() / 2)
        self._wait *= 2
        # A little later than asked, each caller by another little: all were told the same moment.
        return own if asked is None else asked + own / 2


def _passes(error: InnerloopError) -> bool:
    if isinstance(error, ServerUnreachableError):
        return error.passing
    if isinstance(error, UnexpectedAnswerError):
        return error.status in _PROXY
    return isinstance(error, PASSING)
