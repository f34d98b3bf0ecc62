import asyncio
from collections.abc import Sequence

import pytest

from service.errors import StoreUnavailableError
from service.sessions.redis.lookups import Lookups


def test_what_is_asked_while_a_round_trip_is_under_way_goes_with_the_next() -> None:
    asked: list[list[str]] = []

    async def ask(keys: Sequence[str]) -> Sequence[str]:
        asked.append(list(keys))
        await asyncio.sleep(0.02)
        return [f"{len(asked)}{key}" for key in keys]

    async def run() -> list[str]:
        lookups = Lookups(ask)

        async def find(key: str, seconds: float) -> str:
            await asyncio.sleep(seconds)
            return await lookups.find(key)

        return [*await asyncio.gather(find("a", 0), find("b", 0), find("a", 0.005), find("c", 0.01), find("c", 0.01), find("d", 0.1))]

    assert asyncio.run(run()) == ["1a", "1b", "2a", "2c", "2c", "3d"]
    assert asked == [["a", "b"], ["a", "c"], ["d"]]


def test_a_failed_round_trip_fails_all_who_wait_each_with_an_error_of_its_own_and_the_next_is_tried() -> None:
    tries = 0

    async def ask(keys: Sequence[str]) -> Sequence[str]:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.02)
        if tries == 1:
            raise StoreUnavailableError("away", retry_after_seconds=3.0)
        return keys

    async def run() -> None:
        lookups = Lookups(ask)
        first = asyncio.create_task(lookups.find("a"))
        await asyncio.sleep(0.01)
        errors = await asyncio.gather(first, lookups.find("b"), return_exceptions=True)
        assert [(type(each), getattr(each, "retry_after_seconds", None)) for each in errors] == [(StoreUnavailableError, 3.0)] * 2
        assert errors[0] is not errors[1]
        assert await lookups.find("c") == "c"
        await lookups.close()

    asyncio.run(run())
    assert tries == 2


def test_a_caller_that_gives_up_leaves_the_others_their_answers() -> None:
    async def ask(keys: Sequence[str]) -> Sequence[str]:
        await asyncio.sleep(0.01)
        return keys

    async def run() -> None:
        lookups = Lookups(ask)
        one, other = asyncio.create_task(lookups.find("a")), asyncio.create_task(lookups.find("a"))
        await asyncio.sleep(0)
        one.cancel()
        assert await other == "a"
        with pytest.raises(asyncio.CancelledError):
            await one

    asyncio.run(run())
