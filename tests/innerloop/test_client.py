import asyncio
import socket
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from innerloop import AsyncClient, Client, QueueFullError, ServerUnreachableError, SessionNotFoundError, UnusableInputError
from tests.innerloop.server import INFO, OMNIGLOT, FakeServer, problem

SUPPORT = {"b": [b"1", b"2"], "a": [b"3"]}


def client_of(server: FakeServer) -> Client:
    return Client("http://host", transport=server.transport)


def run(server: FakeServer, work: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with AsyncClient("http://host", transport=server.transport) as client:
            await work(client)

    asyncio.run(inside())


def test_a_session_knows_what_it_was_adapted_to_and_predicts(server: FakeServer) -> None:
    with client_of(server) as client:
        session = client.adapt("omniglot", SUPPORT, steps=2, scope="head", name="mine", ttl_seconds=60)
        answer = session.predict([b"4", b"5"], top_k=1)
    assert (session.id, session.labels, session.info.steps, session.info.name) == ("ses_0", ("a", "b"), 2, "mine")
    assert [one.label for one in answer.predictions] == ["a", "a"]
    assert answer.session == session.id


def test_a_session_is_found_again_and_ends(server: FakeServer) -> None:
    with client_of(server) as client:
        made = client.adapt(None, SUPPORT)
        found = client.session(made.id)
        assert found.id == made.id
        found.delete()
        with pytest.raises(SessionNotFoundError, match="no session ses_0"):
            made.predict([b"4"])


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_sessions_come_from_every_page_once(server: FakeServer, count: int) -> None:
    with client_of(server) as client:
        made = [client.adapt(None, SUPPORT).id for _ in range(count)]
        assert [session.id for session in client.sessions()] == made


def test_one_call_predict_keeps_nothing(server: FakeServer) -> None:
    with client_of(server) as client:
        answer = client.predict("omniglot", SUPPORT, [b"4"], steps=1, scope="head", top_k=1)
    assert (answer.session, answer.predictions[0].label, server.sessions) == (None, "b", {})
    assert {"model", "steps", "scope", "top_k"} <= set(server.body)


def test_models_and_the_server_describe_themselves(server: FakeServer) -> None:
    with client_of(server) as client:
        assert client.models() == (OMNIGLOT,)
        assert client.model("omniglot@1") == OMNIGLOT
        assert client.info() == INFO


def test_nothing_is_sent_when_an_input_cannot_be(server: FakeServer) -> None:
    with client_of(server) as client, pytest.raises(UnusableInputError, match=r"no\.png"):
        client.adapt(None, {"a": ["no.png"]})
    assert server.requests == []


def test_a_refusal_is_raised_from_any_call(server: FakeServer) -> None:
    server.refusal = problem("queue_full", status=429, detail="12 images wait")
    server.refusal.headers["Retry-After"] = "3"
    with client_of(server) as client, pytest.raises(QueueFullError, match="12 images wait") as caught:
        client.info()
    assert caught.value.retry_after_seconds == 3


def test_the_async_client_answers_as_the_blocking_one(server: FakeServer) -> None:
    async def work(client: AsyncClient) -> None:
        session = await client.adapt("omniglot", SUPPORT, steps=2)
        assert (session.id, session.labels, session.info.steps) == ("ses_0", ("a", "b"), 2)
        assert (await session.predict([b"4", b"5"])).session == session.id
        assert (await client.session(session.id)).id == session.id
        assert (await client.predict(None, SUPPORT, [b"4"])).session is None
        assert (await client.models(), await client.model("omniglot@1"), await client.info()) == ((OMNIGLOT,), OMNIGLOT, INFO)
        others = [(await client.adapt(None, SUPPORT)).id for _ in range(4)]
        assert [one.id async for one in client.sessions()] == [session.id, *others]
        await session.delete()
        with pytest.raises(SessionNotFoundError):
            await client.session(session.id)

    run(server, work)


def test_both_clients_offer_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    with Client(url) as client, pytest.raises(ServerUnreachableError, match=f"no answer from {url}"):
        client.info()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "http://[", "http://host:port"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ServerUnreachableError, match="check the address"), Client(url) as client:
        client.info()


def test_the_client_closes_its_connections(server: FakeServer) -> None:
    closed: list[str] = []

    class Watched(httpx2.MockTransport):
        def close(self) -> None:
            closed.append("yes")

    with Client("http://host", transport=Watched(server.handle)):
        pass
    assert closed == ["yes"]
