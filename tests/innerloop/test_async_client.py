import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from innerloop import (
    AsyncClient,
    AsyncSession,
    Client,
    DrainingError,
    RevisionChangedError,
    Session,
    SessionNotFoundError,
    WrongAnswerKindError,
)
from innerloop.retries import Retries
from tests.innerloop.server import INFO, OMNIGLOT, FakeServer, problem

SUPPORT = {"b": [b"1", b"2"], "a": [b"3"]}


def run(server: FakeServer, work: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with AsyncClient("http://host", transport=server.transport) as client:
            await work(client)

    asyncio.run(inside())


def test_the_async_client_answers_as_the_blocking_one(server: FakeServer) -> None:
    async def work(client: AsyncClient) -> None:
        session = await client.adapt("omniglot", SUPPORT, steps=2)
        assert (session.id, session.labels, session.info.steps) == ("ses_0", ("a", "b"), 2)
        assert (await session.predict([b"4", b"5"])).session == session.id
        assert len((await session.predict([b"4"], nearest=2)).predictions[0].nearest) == 2
        assert (await client.session(session.id)).id == session.id
        assert (await client.predict(None, SUPPORT, [b"4"])).session is None
        assert (await client.models(), await client.model("omniglot@1"), await client.info()) == ((OMNIGLOT,), OMNIGLOT, INFO)
        others = [(await client.adapt(None, SUPPORT)).id for _ in range(4)]
        assert [one.id async for one in client.sessions()] == [session.id, *others]
        await session.delete()
        with pytest.raises(SessionNotFoundError):
            await client.session(session.id)

    run(server, work)


def test_an_async_session_grows_and_shrinks_as_values(server: FakeServer) -> None:
    async def work(client: AsyncClient) -> None:
        first = await client.adapt(None, SUPPORT, keep_support=True, idempotency_key="once")
        second = await first.add({"c": [b"4"]}, expected_revision=1, idempotency_key="twice")
        assert (first.revision, second.revision, second.added, second.client) == (1, 2, (4,), client)
        third = await second.remove([1], expected_revision=2)
        assert [example.id async for example in third.examples()] == [2, 3, 4]
        with pytest.raises(RevisionChangedError):
            await first.add({"d": [b"5"]}, expected_revision=1)
        assert (await first.refresh()).revision == 3
        assert (await first.predict([b"6"], revision=1)).revision == 1

    run(server, work)


def test_an_async_session_is_changed_forked_and_moved(server: FakeServer) -> None:
    async def work(client: AsyncClient) -> None:
        session = await client.adapt(None, SUPPORT)
        assert (await session.change(name="mine", pinned=True, ttl_seconds=9)).info.expires_at is None
        fork = await session.fork({"c": [b"4"]}, steps=2, name="fork")
        assert (fork.id, fork.labels, fork.info.steps) == ("ses_1", ("a", "b", "c"), 2)
        back = await client.import_session(await fork.export(revision=1), name="back", ttl_seconds=9)
        assert (back.id, back.info.weights_digest) == ("ses_2", "safetensors of ses_1@1")
        assert [one.id async for one in client.sessions(name="back", created_from=datetime(2026, 1, 1, tzinfo=UTC))] == [back.id]
        assert await client.delete_sessions(confirm=True, name="back") == 1

    run(server, work)


def test_an_async_classifier_estimates_nothing_and_says_what_to_use(server: FakeServer) -> None:
    async def work(client: AsyncClient) -> None:
        with pytest.raises(WrongAnswerKindError, match="this session predicts labels"):
            await (await client.adapt(None, SUPPORT)).estimate([b"4"])
        with pytest.raises(WrongAnswerKindError, match="meta-model omniglot@1 predicts labels"):
            await client.estimate(None, SUPPORT, [b"4"])

    run(server, work)


def offered(kind: type) -> dict[str, str]:
    """Every public method with its parameters, and what it gives once awaited."""
    methods = {name: method for name, method in vars(kind).items() if inspect.isfunction(method) and not name.startswith("_")}
    return {name: str(inspect.signature(method)).replace("Async", "") for name, method in methods.items()}


@pytest.mark.parametrize(("blocking", "awaited"), [(Client, AsyncClient), (Session, AsyncSession)])
def test_both_kinds_offer_the_same_methods_with_the_same_parameters(blocking: type, awaited: type) -> None:
    assert offered(blocking) == offered(awaited)
    assert len(offered(blocking)) > 5


def test_the_async_client_tries_again_too(server: FakeServer) -> None:
    async def inside() -> None:
        async with AsyncClient("http://host", transport=server.transport, retries=Retries(first_wait_seconds=0)) as client:
            server.refusal = problem("draining", status=503)
            with pytest.raises(DrainingError):
                await client.info()
        assert len(server.requests) == 4

    asyncio.run(inside())
