import asyncio
import threading
import time

import pytest

from service.errors import NotAnImageError
from service.runtime.decoding import Decoded, DecodePool


def test_decoding_happens_on_another_thread_and_is_timed() -> None:
    def decode() -> str:
        time.sleep(0.02)
        return threading.current_thread().name

    async def scenario() -> Decoded[str]:
        with DecodePool() as pool:
            return await pool.run(decode)

    decoded = asyncio.run(scenario())
    assert decoded.value.startswith("decode")
    assert 20 <= decoded.milliseconds < 10_000


def test_what_decoding_raises_is_raised_to_the_caller() -> None:
    def decode() -> None:
        raise NotAnImageError("no image", field="queries/1")

    async def scenario() -> None:
        with DecodePool() as pool:
            await pool.run(decode)

    with pytest.raises(NotAnImageError, match="no image"):
        asyncio.run(scenario())


def test_the_event_loop_runs_on_while_something_is_decoded() -> None:
    let_go = threading.Event()

    async def scenario() -> bool:
        with DecodePool() as pool:
            decoding = asyncio.ensure_future(pool.run(lambda: let_go.wait(30)))
            await asyncio.sleep(0)
            let_go.set()
            return (await decoding).value

    assert asyncio.run(scenario())
