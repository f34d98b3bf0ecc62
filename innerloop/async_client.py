"""The async client and its sessions: as `innerloop.client`, awaited; what each method gives is said there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Self

import httpx2

from innerloop import calls, plans
from innerloop.adapted import Adapted
from innerloop.address import address_of
from innerloop.calls import Cursor, Format, PageT
from innerloop.client import DEFAULT_RETRIES, DEFAULT_TIMEOUT
from innerloop.errors import InnerloopError
from innerloop.exchange import HEADERS, AnswerT_co, Call, reaching, read_answer
from innerloop.plans import Plan
from innerloop.retries import Retries, Tries
from innerloop.sets import Queries, Support
from innerloop.wire import Estimates, ExampleInfo, ModelInfo, Predictions, ServerInfo, SessionInfo


class AsyncClient:
    """`Client` for async code: the same methods, awaited; many calls may be under way at once.

    >>> import asyncio
    >>> async def labels(*names: str) -> list[str]:
    ...     async with AsyncClient() as client:
    ...         session = await client.adapt("omniglot", "examples/characters/support")
    ...         asked = (session.predict([f"examples/characters/queries/{name}"]) for name in names)
    ...         return [answer.predictions[0].label for answer in await asyncio.gather(*asked)]
    >>> asyncio.run(labels("kite-1.png", "hook-2.png"))
    ['kite', 'hook']
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: Retries = DEFAULT_RETRIES,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout = timeout
        self._retries = retries
        url = address_of(base_url)
        with reaching(url):
            self._http = httpx2.AsyncClient(base_url=url, transport=transport, headers=HEADERS)

    async def adapt(  # noqa: PLR0913 - every option of the call is an argument
        self,
        model: str | None,
        support: Support,
        *,
        steps: int | None = None,
        scope: str | None = None,
        name: str | None = None,
        ttl_seconds: float | None = None,
        keep_support: bool | None = None,
        idempotency_key: str | None = None,
    ) -> "AsyncSession":
        plan = plans.adapt(
            support,
            model=model,
            steps=steps,
            scope=scope,
            name=name,
            ttl_seconds=ttl_seconds,
            keep_support=keep_support,
            idempotency_key=idempotency_key,
        )
        return AsyncSession(await self._follow(plan), self)

    async def predict(
        self,
        model: str | None,
        support: Support,
        queries: Queries,
        *,
        steps: int | None = None,
        scope: str | None = None,
        top_k: int = 3,
    ) -> Predictions:
        return await self._follow(plans.predict_once(support, queries, Predictions, model=model, steps=steps, scope=scope, top_k=top_k))

    async def estimate(
        self, model: str | None, support: Support, queries: Queries, *, steps: int | None = None, scope: str | None = None
    ) -> Estimates:
        return await self._follow(plans.predict_once(support, queries, Estimates, top_k=1, model=model, steps=steps, scope=scope))

    async def session(self, session_id: str) -> "AsyncSession":
        return AsyncSession(await self._send(calls.session(session_id)), self)

    async def sessions(
        self,
        *,
        name: str | None = None,
        model: str | None = None,
        created_from: datetime | None = None,
        created_until: datetime | None = None,
    ) -> AsyncIterator["AsyncSession"]:
        page_of = partial(calls.sessions, name=name, model=model, created_from=created_from, created_until=created_until)
        async for page in self._pages(page_of):
            for info in page.sessions:
                yield AsyncSession(info, self)

    async def delete_sessions(
        self,
        *,
        confirm: bool,
        name: str | None = None,
        model: str | None = None,
        created_from: datetime | None = None,
        created_until: datetime | None = None,
    ) -> int:
        wanted = {"name": name, "model": model, "created_from": created_from, "created_until": created_until}
        return (await self._send(calls.delete_sessions(confirm=confirm, **wanted))).deleted

    async def import_session(self, content: bytes, *, name: str | None = None, ttl_seconds: float | None = None) -> "AsyncSession":
        return AsyncSession(await self._send(calls.import_session(content, name=name, ttl_seconds=ttl_seconds)), self)

    async def models(self) -> tuple[ModelInfo, ...]:
        return (await self._send(calls.models())).models

    async def model(self, name: str) -> ModelInfo:
        return await self._send(calls.model(name))

    async def info(self) -> ServerInfo:
        return await self._send(calls.info())

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _follow(self, plan: Plan[AnswerT_co]) -> AnswerT_co:
        step = partial(next, plan)
        while True:
            try:
                call = step()
            except StopIteration as done:
                answer: AnswerT_co = done.value
                return answer
            try:
                step = partial(plan.send, await self._send(call))
            except InnerloopError as error:
                step = partial(plan.throw, error)

    async def _send(self, call: Call[AnswerT_co]) -> AnswerT_co:
        tries = Tries(self._retries, call)
        while True:
            try:
                return await self._try(call, tries)
            except InnerloopError as error:
                if tries.has_done(error):
                    return call.read(b"")
                await asyncio.sleep(tries.wait_after(error))

    async def _try(self, call: Call[AnswerT_co], tries: Tries) -> AnswerT_co:
        with reaching(str(self._http.base_url)):
            timeout = tries.timeout(self._timeout)
            response = await self._http.request(call.method, call.path, content=call.content, headers=call.headers, timeout=timeout)
        return read_answer(call, response)

    async def _pages(self, page_of: Callable[[Cursor], Call[PageT]]) -> AsyncIterator[PageT]:
        after: Cursor = None
        while True:
            page = await self._send(page_of(after))
            yield page
            if page.next is None:
                return
            after = page.next


@dataclass(frozen=True, slots=True)
class AsyncSession(Adapted):
    """`Session` for async code."""

    client: AsyncClient = field(repr=False)

    async def predict(self, queries: Queries, *, top_k: int = 3, nearest: int = 0, revision: int | None = None) -> Predictions:
        return await self.client._follow(plans.predict(self.id, queries, Predictions, top_k=top_k, nearest=nearest, revision=revision))

    async def estimate(self, queries: Queries, *, nearest: int = 0, revision: int | None = None) -> Estimates:
        return await self.client._follow(plans.predict(self.id, queries, Estimates, top_k=1, nearest=nearest, revision=revision))

    async def refresh(self) -> "AsyncSession":
        return await self._as_answered(calls.session(self.id))

    async def add(self, support: Support, *, expected_revision: int | None = None, idempotency_key: str | None = None) -> "AsyncSession":
        plan = plans.add(self.id, support, expected_revision=expected_revision, idempotency_key=idempotency_key)
        return replace(self, info=await self.client._follow(plan))

    async def remove(self, ids: Iterable[int], *, expected_revision: int | None = None) -> "AsyncSession":
        return await self._as_answered(calls.remove(self.id, ids, expected_revision=expected_revision))

    async def examples(self) -> AsyncIterator[ExampleInfo]:
        async for page in self.client._pages(partial(calls.examples, self.id)):
            for example in page.examples:
                yield example

    async def change(self, *, name: str | None = None, pinned: bool | None = None, ttl_seconds: float | None = None) -> "AsyncSession":
        return await self._as_answered(calls.change(self.id, name=name, pinned=pinned, ttl_seconds=ttl_seconds))

    async def fork(  # noqa: PLR0913 - every option of the call is an argument
        self,
        support: Support | None = None,
        *,
        steps: int | None = None,
        scope: str | None = None,
        name: str | None = None,
        ttl_seconds: float | None = None,
        keep_support: bool | None = None,
        idempotency_key: str | None = None,
    ) -> "AsyncSession":
        plan = plans.adapt(
            support,
            from_session=self.id,
            steps=steps,
            scope=scope,
            name=name,
            ttl_seconds=ttl_seconds,
            keep_support=keep_support,
            idempotency_key=idempotency_key,
        )
        return replace(self, info=await self.client._follow(plan))

    async def export(self, format: Format = "safetensors", revision: int | None = None) -> bytes:
        return await self.client._send(calls.export(self.id, format=format, revision=revision))

    async def delete(self) -> None:
        await self.client._send(calls.delete(self.id))

    async def _as_answered(self, call: Call[SessionInfo]) -> "AsyncSession":
        return replace(self, info=await self.client._send(call))
