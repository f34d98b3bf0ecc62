"""Waiting for the device on behalf of a caller who may give up."""

import asyncio
from concurrent.futures import Future
from typing import TypeVar

from service.errors import DeadlineError
from service.runtime.caller import Caller

# Most answers come sooner; only those who wait longer are asked whether they are still there.
LOOK_EVERY_SECONDS = 0.1

T = TypeVar("T")


async def answer_for(caller: Caller, future: "Future[T]") -> T:
    """Give what the future gives; when the caller stops waiting, the work is cancelled and costs no device time.

    Raises:
        DeadlineError: the caller's time is over.
    """
    waiting = asyncio.wrap_future(future)
    try:
        while not (await asyncio.wait({waiting}, timeout=max(0.0, min(LOOK_EVERY_SECONDS, caller.seconds_left))))[0]:
            if caller.seconds_left <= 0:
                raise DeadlineError("the device had no time for this request within its Request-Timeout-Ms; try again later")
            await caller.still_there()
        return waiting.result()
    finally:
        waiting.cancel()
