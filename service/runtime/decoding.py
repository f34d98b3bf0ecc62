"""Decoding off the event loop, in a small pool of threads."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

THREADS = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Decoded(Generic[T]):
    """What came out, and the milliseconds it took."""

    value: T
    milliseconds: float


class DecodePool:
    """Decodes whole requests, each on one thread. A context manager."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
        self._running = 0

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    async def run(self, decode: Callable[[], T]) -> Decoded[T]:
        """Call `decode` on a thread of the pool; what it raises is raised here."""
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _timed, decode)
        finally:
            self._running -= 1

    def busy(self) -> bool:
        """Whether something is being decoded, which the device will soon be asked to compute."""
        return self._running > 0


def _timed(decode: Callable[[], T]) -> Decoded[T]:
    began = time.perf_counter()
    value = decode()
    return Decoded(value, 1000 * (time.perf_counter() - began))
