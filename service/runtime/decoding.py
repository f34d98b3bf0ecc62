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

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    async def run(self, decode: Callable[[], T]) -> Decoded[T]:
        """Call `decode` on a thread of the pool; what it raises is raised here."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _timed, decode)


def _timed(decode: Callable[[], T]) -> Decoded[T]:
    began = time.perf_counter()
    value = decode()
    return Decoded(value, 1000 * (time.perf_counter() - began))
