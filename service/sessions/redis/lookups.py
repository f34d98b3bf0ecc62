"""Many look-ups in one round trip."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Lookups(Generic[T]):
    """Asks for what came together in one go, and for what comes meanwhile in the next.

    No answer is older than its question, because a question only joins a round trip that has not begun.
    """

    def __init__(self, ask: Callable[[Sequence[str]], Awaitable[Sequence[T]]]) -> None:
        self._ask = ask
        self._waiting: list[tuple[str, asyncio.Future[T]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def find(self, key: str) -> T:
        """Give the answer for a key, or raise what asking raised."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._asking is None:
            # A task of its own: a caller that is cancelled takes nobody's answer with it.
            self._asking = asyncio.create_task(self._ask_on())
        return await answer

    async def close(self) -> None:
        """Wait until everyone is answered."""
        if self._asking is not None:
            await self._asking

    async def _ask_on(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            keys = list(dict.fromkeys(key for key, _ in batch))
            try:
                answers = dict(zip(keys, await self._ask(keys), strict=True))
            except Exception as error:
                # Those who came meanwhile would wait as long again for the same.
                self._fail([*batch, *self._waiting], error)
                self._waiting = []
                continue
            for key, answer in batch:
                if not answer.done():
                    answer.set_result(answers[key])
        self._asking = None

    @staticmethod
    def _fail(batch: Sequence[tuple[str, asyncio.Future[T]]], error: Exception) -> None:
        for _, answer in batch:
            if not answer.done():
                # Each caller its own: an error that is raised in many places collects the tracebacks of all.
                answer.set_exception(copy.copy(error))
