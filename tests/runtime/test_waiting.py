import asyncio
import time
from concurrent.futures import Future

import pytest

from service.errors import DeadlineError
from service.runtime.caller import Caller
from service.runtime.waiting import LOOK_EVERY_SECONDS, answer_for


class GoneError(Exception):
    """The caller hung up."""


def test_an_answer_is_given_and_so_is_an_error() -> None:
    good, bad = Future[int](), Future[int]()
    good.set_result(3)
    bad.set_exception(ValueError("no"))
    assert asyncio.run(answer_for(Caller("ann"), good)) == 3
    with pytest.raises(ValueError, match="no"):
        asyncio.run(answer_for(Caller("ann"), bad))


def test_a_caller_past_its_deadline_is_told_and_the_work_cancelled() -> None:
    work, began = Future[int](), time.monotonic()
    with pytest.raises(DeadlineError, match="Request-Timeout-Ms"):
        asyncio.run(answer_for(Caller("ann", deadline=began + 0.02), work))
    assert work.cancelled()
    assert 0.02 <= time.monotonic() - began < 5


def test_a_caller_who_hung_up_is_noticed_and_the_work_cancelled() -> None:
    asked = 0

    async def still_there() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise GoneError

    work = Future[int]()
    with pytest.raises(GoneError):
        asyncio.run(answer_for(Caller("ann", still_there=still_there), work))
    assert work.cancelled()


def test_a_caller_answered_soon_is_never_asked() -> None:
    async def still_there() -> None:
        raise AssertionError("asked")

    async def scenario() -> int:
        work = Future[int]()
        asyncio.get_running_loop().call_later(LOOK_EVERY_SECONDS / 10, work.set_result, 7)
        return await answer_for(Caller("ann", still_there=still_there), work)

    assert asyncio.run(scenario()) == 7


def test_a_cancelled_request_cancels_its_work() -> None:
    work = Future[int]()

    async def scenario() -> None:
        waiting = asyncio.ensure_future(answer_for(Caller("ann"), work))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scenario())
    assert work.cancelled()
