"""The client, blocking and async: two ways to send the calls of `innerloop.calls`."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx2

from innerloop import calls
from innerloop.calls import AnswerT_co, Call
from innerloop.inputs import Input
from innerloop.wire import ModelInfo, Predictions, ServerInfo, SessionInfo

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = 60.0  # seconds: a first request may wait for a busy device

Support = Mapping[str, Iterable[Input]]


class Client:
    """Speaks to one server; closes its connections on leaving the `with` block.

    Every method raises `ApiError` (by code) when the server refuses, `ServerUnreachableError` when it does not answer,
    `UnusableInputError` before anything is sent.
    """

    def __init__(
        self, base_url: str = DEFAULT_URL, *, timeout: float | None = DEFAULT_TIMEOUT, transport: httpx2.BaseTransport | None = None
    ) -> None:
        with calls.reaching(base_url):
            self._http = httpx2.Client(base_url=base_url, timeout=timeout, transport=transport, headers=calls.HEADERS)

    def adapt(
        self,
        model: str | None,
        support: Support,
        *,
        steps: int | None = None,
        scope: str | None = None,
        name: str | None = None,
        ttl_seconds: float | None = None,
    ) -> "Session":
        """A session adapted to `support`, label → inputs; the server fills in what is None, the meta-model too."""
        call = calls.adapt(support, model=model, steps=steps, scope=scope, name=name, ttl_seconds=ttl_seconds)
        return Session(self._send(call), self)

    def predict(
        self,
        model: str | None,
        support: Support,
        queries: Iterable[Input],
        *,
        steps: int | None = None,
        scope: str | None = None,
        top_k: int = 3,
    ) -> Predictions:
        """Adapts and predicts in one call; the server keeps nothing."""
        return self._send(calls.predict_once(support, queries, model=model, steps=steps, scope=scope, top_k=top_k))

    def session(self, session_id: str) -> "Session":
        return Session(self._send(calls.session(session_id)), self)

    def sessions(self) -> Iterator["Session"]:
        """All sessions, oldest first, fetched page by page."""
        after: str | None = None
        while True:
            page = self._send(calls.sessions(after))
            yield from (Session(info, self) for info in page.sessions)
            if page.next is None:
                return
            after = page.next

    def models(self) -> tuple[ModelInfo, ...]:
        return self._send(calls.models()).models

    def model(self, name: str) -> ModelInfo:
        """`name` is the newest version, `name@version` that one."""
        return self._send(calls.model(name))

    def info(self) -> ServerInfo:
        return self._send(calls.info())

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _send(self, call: Call[AnswerT_co]) -> AnswerT_co:
        with calls.reaching(str(self._http.base_url)):
            response = self._http.request(call.method, call.path, content=call.content, params=call.params)
        return calls.read_answer(call, response)


class AsyncClient:
    """`Client` for async code: the same methods, awaited."""

    def __init__(
        self, base_url: str = DEFAULT_URL, *, timeout: float | None = DEFAULT_TIMEOUT, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        with calls.reaching(base_url):
            self._http = httpx2.AsyncClient(base_url=base_url, timeout=timeout, transport=transport, headers=calls.HEADERS)

    async def adapt(
        self,
        model: str | None,
        support: Support,
        *,
        steps: int | None = None,
        scope: str | None = None,
        name: str | None = None,
        ttl_seconds: float | None = None,
    ) -> "AsyncSession":
        call = calls.adapt(support, model=model, steps=steps, scope=scope, name=name, ttl_seconds=ttl_seconds)
        return AsyncSession(await self._send(call), self)

    async def predict(
        self,
        model: str | None,
        support: Support,
        queries: Iterable[Input],
        *,
        steps: int | None = None,
        scope: str | None = None,
        top_k: int = 3,
    ) -> Predictions:
        return await self._send(calls.predict_once(support, queries, model=model, steps=steps, scope=scope, top_k=top_k))

    async def session(self, session_id: str) -> "AsyncSession":
        return AsyncSession(await self._send(calls.session(session_id)), self)

    async def sessions(self) -> AsyncIterator["AsyncSession"]:
        after: str | None = None
        while True:
            page = await self._send(calls.sessions(after))
            for info in page.sessions:
                yield AsyncSession(info, self)
            if page.next is None:
                return
            after = page.next

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

    async def _send(self, call: Call[AnswerT_co]) -> AnswerT_co:
        with calls.reaching(str(self._http.base_url)):
            response = await self._http.request(call.method, call.path, content=call.content, params=call.params)
        return calls.read_answer(call, response)


@dataclass(frozen=True, slots=True)
class _Adapted:
    info: SessionInfo

    @property
    def id(self) -> str:
        return self.info.session

    @property
    def labels(self) -> tuple[str, ...]:
        return self.info.labels


@dataclass(frozen=True, slots=True)
class Session(_Adapted):
    """One adapted meta-model on the server; `info` is what the server said of it when it was made or fetched."""

    client: Client = field(repr=False)

    def predict(self, queries: Iterable[Input], *, top_k: int = 3) -> Predictions:
        """One prediction per query, in order, each with its `top_k` best labels."""
        return self.client._send(calls.predict(self.id, queries, top_k=top_k))

    def delete(self) -> None:
        self.client._send(calls.delete(self.id))


@dataclass(frozen=True, slots=True)
class AsyncSession(_Adapted):
    """`Session` for async code."""

    client: AsyncClient = field(repr=False)

    async def predict(self, queries: Iterable[Input], *, top_k: int = 3) -> Predictions:
        return await self.client._send(calls.predict(self.id, queries, top_k=top_k))

    async def delete(self) -> None:
        await self.client._send(calls.delete(self.id))
