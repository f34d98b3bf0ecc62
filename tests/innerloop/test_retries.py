from dataclasses import replace

import pytest

from innerloop.calls import info
from innerloop.errors import ApiError, DeadlineError, InnerloopError, QueueFullError, ServerUnreachableError, UnexpectedAnswerError
from innerloop.exchange import read_answer
from innerloop.retries import Retries, Tries
from tests.innerloop.server import problem

LOST = ServerUnreachableError("no answer")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(code: str, retry_after: str | None = None) -> ApiError:
    response = problem(code, status=503)
    response.headers.update({} if retry_after is None else {"Retry-After": retry_after})
    with pytest.raises(ApiError) as caught:
        read_answer(info(), response)
    return caught.value


def tries(retries: Retries = Retries(), *, repeatable: bool = True, chance: float = 0.0, clock: Clock | None = None) -> Tries:  # noqa: B008 - frozen
    return Tries(retries, replace(info(), repeatable=repeatable), clock=clock or Clock(), chance=lambda: chance)


def test_waits_double_up_to_the_longest_and_then_the_error_is_raised() -> None:
    some = tries(Retries(tries=5, first_wait_seconds=1, longest_wait_seconds=3))
    assert [some.wait_after(LOST) for _ in range(4)] == [1, 2, 3, 3]
    with pytest.raises(ServerUnreachableError):
        some.wait_after(LOST)


def test_chance_takes_off_up_to_half_of_a_wait() -> None:
    assert tries(Retries(first_wait_seconds=1), chance=1.0).wait_after(LOST) == 0.5


def test_retry_after_is_never_cut_short() -> None:
    for chance in (0.0, 0.5, 1.0):
        assert 3 < tries(Retries(longest_wait_seconds=1), chance=chance).wait_after(refused("queue_full", "3")) < 4


def test_the_retry_after_of_a_proxy_is_honoured_too() -> None:
    page = UnexpectedAnswerError("a page", status=503, retry_after_seconds=3)
    assert 3 < tries().wait_after(page) < 4


def test_no_wait_begins_that_would_end_after_the_deadline() -> None:
    clock = Clock()
    some = tries(Retries(deadline_seconds=10, first_wait_seconds=1), clock=clock)
    some.wait_after(LOST)
    with pytest.raises(QueueFullError):
        tries(Retries(deadline_seconds=10)).wait_after(refused("queue_full", "30"))
    clock.now += 8.5
    with pytest.raises(ServerUnreachableError):
        some.wait_after(LOST)


def test_a_try_may_take_no_longer_than_what_is_left() -> None:
    clock = Clock()
    some = tries(Retries(deadline_seconds=10), clock=clock)
    assert (some.timeout(60), some.timeout(3), some.timeout(None)) == (10, 3, 10)
    clock.now += 9
    assert some.timeout(60) == 1
    clock.now += 9
    assert some.timeout(60) > 0


@pytest.mark.parametrize(
    "error",
    [
        LOST,
        *(refused(code) for code in ("queue_full", "draining", "store_unavailable", "idempotency_key_busy")),
        *(UnexpectedAnswerError("a page", status=status) for status in (429, 502, 503, 504)),
    ],
)
def test_what_passes_by_itself_is_tried_again_unless_it_is_not_safe(error: InnerloopError) -> None:
    assert tries().wait_after(error) > 0
    with pytest.raises(type(error)):
        tries(repeatable=False).wait_after(error)
    with pytest.raises(type(error)):
        tries(Retries(tries=1)).wait_after(error)


@pytest.mark.parametrize(
    "error",
    [
        ServerUnreachableError("no such address", passing=False),
        UnexpectedAnswerError("a page", status=200),
        *(refused(code) for code in ("invalid_request", "deadline", "device_memory", "internal_error", "session_gone", "store_full")),
    ],
)
def test_what_does_not_pass_is_raised_at_once(error: InnerloopError) -> None:
    with pytest.raises(type(error)):
        tries().wait_after(error)


def test_a_missed_deadline_is_the_callers_own() -> None:
    assert isinstance(refused("deadline"), DeadlineError)
