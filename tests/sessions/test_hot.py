import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from service.sessions.hot import OVERHEAD_BYTES, HotWeights, Weights

ONE = OVERHEAD_BYTES + 400


def loading(number: float = 0, *, delay: float = 0) -> Callable[[], Awaitable[Weights]]:
    async def load() -> Weights:
        await asyncio.sleep(delay)
        return {"head.weight": torch.full((100,), float(number))}

    return load


async def never() -> Weights:
    raise AssertionError("it is there already")


async def used(hot: HotWeights, *digests: str) -> None:
    for digest in digests:
        await hot.acquire(digest, loading())
        hot.release(digest)


def held(hot: HotWeights, digests: str) -> str:
    return "".join(digest for digest in digests if digest in hot)


def test_what_is_there_is_not_loaded_again() -> None:
    async def scenario() -> None:
        hot = HotWeights(budget_bytes=10 * ONE)
        first = await hot.acquire("a", loading(7))
        assert first["head.weight"][0] == 7
        assert await hot.acquire("a", never) is first

    asyncio.run(scenario())


def test_those_used_longest_ago_leave_first() -> None:
    hot = HotWeights(budget_bytes=3 * ONE)
    asyncio.run(used(hot, *"abcad"))
    assert held(hot, "abcd") == "acd"
    assert hot.size_bytes == 3 * ONE


def test_those_in_use_stay_though_the_budget_is_passed() -> None:
    async def scenario() -> None:
        hot = HotWeights(budget_bytes=2 * ONE)
        for digest in "abcd":
            await hot.acquire(digest, loading())
        assert held(hot, "abcd") == "abcd"
        hot.release("b")
        hot.release("a")
        assert held(hot, "abcd") == "cd"

    asyncio.run(scenario())


def test_a_hundred_who_ask_at_once_load_once() -> None:
    async def scenario() -> None:
        loads, hot = count(), HotWeights(budget_bytes=ONE)

        async def load() -> Weights:
            next(loads)
            return await loading(delay=0.01)()

        found = await asyncio.gather(*(hot.acquire("a", load) for _ in range(100)))
        assert all(each is found[0] for each in found)
        assert next(loads) == 1

    asyncio.run(scenario())


def test_one_who_gives_up_does_not_stop_the_load_for_the_others() -> None:
    async def scenario() -> None:
        hot = HotWeights(budget_bytes=ONE)
        first, second = (asyncio.ensure_future(hot.acquire("a", loading(delay=0.01))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second)["head.weight"][0] == 0

    asyncio.run(scenario())


def test_a_load_that_fails_fails_for_all_who_wait_and_is_tried_again() -> None:
    async def fail() -> Weights:
        await asyncio.sleep(0.01)
        raise OSError("gone")

    async def scenario() -> None:
        hot = HotWeights(budget_bytes=ONE)
        failed = await asyncio.gather(*(hot.acquire("a", fail) for _ in range(3)), return_exceptions=True)
        assert [str(each) for each in failed] == ["gone"] * 3
        assert "a" not in hot
        await hot.acquire("a", loading())

    asyncio.run(scenario())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=60))
def test_the_budget_holds_whenever_no_more_than_it_is_in_use(steps: list[tuple[str, bool]]) -> None:
    async def scenario() -> None:
        hot, leased = HotWeights(budget_bytes=4 * ONE), list[str]()
        for digest, take in steps:
            if take:
                assert (await hot.acquire(digest, loading(ord(digest))))["head.weight"][0] == ord(digest)
                leased.append(digest)
            elif leased:
                hot.release(leased.pop(0))
            assert all(each in hot for each in leased)
            assert hot.size_bytes <= max(4, len(set(leased))) * ONE

    asyncio.run(scenario())


def test_evictions_are_counted() -> None:
    before = REGISTRY.get_sample_value("innerloop_evicted_total", {"tier": "host", "reason": "room"}) or 0
    asyncio.run(used(HotWeights(budget_bytes=ONE), *"abc"))
    assert REGISTRY.get_sample_value("innerloop_evicted_total", {"tier": "host", "reason": "room"}) == pytest.approx(before + 2)
