import asyncio
import math
import time

import pytest

from innerloop.errors import QueueFullError, SessionGoneError
from innerloop.load import Load, measure
from innerloop.wire import Problem


def test_percentiles_are_of_the_calls_that_were_made() -> None:
    load = Load([n / 1000 for n in range(1, 101)], refused=0, seconds=4.0, own_cpu=0.1)
    assert (load.percentile(0.5), load.percentile(0.95), load.percentile(0.99), load.percentile(1)) == (0.05, 0.095, 0.099, 0.1)
    assert load.per_second == 25
    assert math.isnan(Load([], 0, 1.0, 0.0).percentile(0.5))


def test_callers_ask_at_the_same_time_and_each_after_its_last_answer() -> None:
    at_once, most = 0, 0

    async def call(_: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1

    load = asyncio.run(measure(call, callers=3, seconds=0.2))
    assert most == 3
    assert load.percentile(0.01) >= 0.01
    assert load.seconds >= 0.2
    assert len(load.latencies) <= 3 * 21


def test_a_full_queue_is_counted_and_not_timed() -> None:
    problem = Problem(type="t", title="t", status=429, detail="full", code="queue_full", trace_id="t")

    async def call(n: int) -> None:
        if n == 0:
            raise QueueFullError(problem, retry_after_seconds=0.5)

    load = asyncio.run(measure(call, callers=1, seconds=0.6))
    assert load.refused == 1
    assert load.percentile(1) < 0.5


def test_any_other_refusal_ends_the_measuring() -> None:
    problem = Problem(type="t", title="t", status=410, detail="gone", code="session_gone", trace_id="t")

    async def call(_: int) -> None:
        raise SessionGoneError(problem)

    with pytest.raises(SessionGoneError, match="gone"):
        asyncio.run(measure(call, callers=1, seconds=0.1))


def test_the_clients_own_work_is_seen() -> None:
    async def work(_: int) -> None:
        until = time.process_time() + 0.01
        while time.process_time() < until:
            pass

    async def wait(_: int) -> None:
        await asyncio.sleep(0.01)

    worked, waited = (asyncio.run(measure(call, callers=1, seconds=0.3)) for call in (work, wait))
    assert worked.own_cpu * worked.seconds >= 0.01 * len(worked.latencies)
    assert waited.own_cpu * waited.seconds < 0.005 * len(waited.latencies)
