"""Sets larger than one request, sent by both clients to a server that takes little."""

import asyncio
import json
from collections.abc import Iterator

import httpx2
import pytest

from innerloop import AsyncClient, Client, TooLargeError, UnusableInputError
from innerloop.inputs import Fields
from innerloop.parts import Room, bytes_of, parts
from innerloop.retries import Retries
from tests.innerloop.server import INFO, FakeServer, answer, problem

NARROW = INFO.model_copy(update={"limits": INFO.limits.model_copy(update={"body_bytes": 700_000, "examples": 20, "queries": 3})})
BIG = b"x" * 230_000  # one of them, in base64, is more than is sent without asking, three are more than a request holds
SUPPORT = {"a": [BIG + b"0", BIG + b"1", BIG + b"2"], "b": [BIG + b"3", BIG + b"4"]}


class NarrowServer(FakeServer):
    """Takes bodies of 700,000 bytes."""

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/info":
            self.requests.append(request)
            return answer(NARROW)
        if len(request.content) > NARROW.limits.body_bytes:
            return problem("too_large", status=413)
        if (
            (request.method, request.url.path) == ("POST", "/v1/sessions")
            and b"from_session" not in request.content
            and len(set(labels(request))) < 2
        ):
            return problem("unusable_support", detail="expected at least two classes")
        return super().handle(request)

    def lines(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]


@pytest.fixture
def server() -> NarrowServer:
    return NarrowServer()


@pytest.fixture
def client(server: NarrowServer) -> Iterator[Client]:
    with Client("http://host", transport=server.transport, retries=Retries(first_wait_seconds=0)) as client:
        yield client


def labels(request: httpx2.Request) -> list[str]:
    return [one["label"] for one in json.loads(request.content).get("support", [])]


def test_a_large_support_set_makes_a_session_and_grows_it(client: Client, server: NarrowServer) -> None:
    session = client.adapt(None, SUPPORT)
    assert server.lines() == ["GET /v1/info", "POST /v1/sessions", *["POST /v1/sessions/ses_0/examples"] * 2]
    assert (session.labels, session.info.shots, session.revision) == (("a", "b"), {"a": 3, "b": 2}, 3)


def test_the_first_part_has_two_classes_and_ids_come_in_the_order_given(server: NarrowServer) -> None:
    little = {"a": [b"x" * 100_000] * 9, "b": [b"x" * 100_000] * 3}
    with Client("http://host", transport=server.transport) as client:
        session = client.adapt(None, little)
    assert set(labels(server.requests[1])) == {"a", "b"}
    kept = {example.id: example.label for example in server.support[session.id]}
    assert [kept[one] for one in session.added] == ["a"] * 9 + ["b"] * 3
    assert sorted(session.added) == list(range(1, 13))


def test_what_a_large_session_took_is_told_of_all_its_calls(client: Client) -> None:
    assert client.adapt(None, SUPPORT).info.milliseconds.decode == 3.0  # type: ignore[attr-defined] # adapting says it


def test_a_small_set_is_one_call_and_asks_for_nothing(client: Client, server: NarrowServer) -> None:
    client.adapt(None, {"a": [b"1"], "b": [b"2"]}).predict([b"3"])
    assert server.lines() == ["POST /v1/sessions", "POST /v1/sessions/ses_0/predict"]


def test_a_session_that_cannot_be_made_whole_is_ended(client: Client, server: NarrowServer) -> None:
    server.refusals["POST", "/v1/sessions/ses_0/examples"] = problem("broken_image", field="support[0].image", detail="support[0]: damaged")
    with pytest.raises(Exception, match=r"support\[2\]: damaged") as caught:
        client.adapt(None, {"a": [BIG, b"1", BIG], "b": [BIG, BIG]})
    assert caught.value.problem.field == "support[2].image"  # type: ignore[attr-defined]
    assert server.lines()[-1] == "DELETE /v1/sessions/ses_0"
    assert server.sessions == {}


def test_under_a_key_of_the_callers_it_stays_and_every_part_has_a_key(client: Client, server: NarrowServer) -> None:
    client.adapt(None, SUPPORT, idempotency_key="k")
    assert [request.headers["Idempotency-Key"] for request in server.requests[1:]] == ["k", "k/1", "k/2"]
    server.refusals["POST", "/v1/sessions/ses_1/examples"] = problem("broken_image")
    with pytest.raises(Exception, match="no"):
        client.adapt(None, SUPPORT, idempotency_key="other")
    assert "ses_1" in server.sessions


def test_more_than_the_server_takes_in_all_is_refused_before_sending(client: Client, server: NarrowServer) -> None:
    with pytest.raises(UnusableInputError, match=r"at most 20 examples.*got 1,002"):
        client.adapt(None, {"a": [b"1"] * 1001, "b": [b"2"]})
    with pytest.raises(UnusableInputError, match="keep it"):
        client.adapt(None, SUPPORT, keep_support=False)
    assert server.sessions == {}


def test_one_input_larger_than_a_request_is_for_the_server_to_refuse(client: Client) -> None:
    with pytest.raises(TooLargeError):
        client.adapt(None, {"a": [b"x" * 2_000_000], "b": [b"1"]})


def test_many_queries_are_asked_in_parts_of_one_revision(client: Client, server: NarrowServer) -> None:
    session = client.adapt(None, {"a": [b"1"], "b": [b"2"]})
    asked = (f"{n}".encode() for n in range(1_001))
    found = session.predict(asked, nearest=1)
    assert [len(one.nearest) for one in found.predictions] == [1] * 1_001
    sent = [json.loads(request.content) for request in server.requests[2:]]
    assert [len(body["queries"]) for body in sent] == [3] * 333 + [2]
    assert {body.get("revision") for body in sent[1:]} == {1}
    assert found.milliseconds.compute == pytest.approx(334 * 12.25)


def test_a_refused_query_of_a_later_part_is_named_by_its_place(client: Client, server: NarrowServer) -> None:
    session = client.adapt(None, {"a": [b"1"], "b": [b"2"]})
    route = server.handle

    def refuse_the_second(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/predict") and sum(line.endswith("/predict") for line in server.lines()) == 1:
            return problem("not_an_image", status=415, field="queries[1]", detail="queries[1]: text")
        return route(request)

    server.handle = refuse_the_second  # type: ignore[method-assign]
    with (
        Client("http://host", transport=server.transport) as other,
        pytest.raises(Exception, match=r"queries\[4\]: text") as caught,
    ):
        other.session(session.id).predict([b"0", *[BIG + b"1"] * 4])
    assert caught.value.problem.field == "queries[4]"  # type: ignore[attr-defined]


def test_one_call_predict_of_much_keeps_nothing(client: Client, server: NarrowServer) -> None:
    found = client.predict(None, SUPPORT, [b"1"] * 4)
    assert (found.session, len(found.predictions), server.sessions) == (None, 4, {})


def test_adding_and_forking_go_in_parts_too(client: Client, server: NarrowServer) -> None:
    session = client.adapt(None, {"a": [b"1"], "b": [b"2"]})
    grown = session.add(SUPPORT, expected_revision=1)
    assert (grown.revision, grown.added) == (4, (3, 5, 6, 4, 7))
    assert [request.headers["If-Match"] for request in server.requests[2:]] == [f'"{n}"' for n in range(1, 4)]
    assert sum(session.fork(SUPPORT).info.shots.values()) == 12


def test_the_async_client_follows_the_same_plans(server: NarrowServer) -> None:
    async def work() -> None:
        async with AsyncClient("http://host", transport=server.transport, retries=Retries(first_wait_seconds=0)) as client:
            session = await client.adapt(None, SUPPORT)
            assert session.revision == 3
            assert len((await session.predict([BIG] * 4)).predictions) == 4
            assert (await session.add(SUPPORT)).revision == 6
            assert (await session.fork(SUPPORT)).id == "ses_1"
            assert len((await client.predict(None, SUPPORT, [BIG])).predictions) == 1
            server.refusals["POST", "/v1/sessions/ses_3/examples"] = problem("broken_image")
            with pytest.raises(Exception, match="no"):
                await client.adapt(None, SUPPORT)
            assert "ses_3" not in server.sessions

    asyncio.run(work())


def test_parts_keep_the_order_and_respect_both_limits() -> None:
    items: list[Fields] = [{"image": "x" * n, "label": "é\n"} for n in (5_000, 10, 9_000, 9_000, 1, 2, 3)]
    found = list(parts(items, Room(items=3, bytes=12_000)))
    assert [item for part in found for item in part] == items
    assert [len(part) for part in found] == [2, 1, 3, 1]


@pytest.mark.parametrize(
    "fields", [{"image": "x" * 9_000}, {"vector": [-1.2345678901234567e-300] * 9}, {"image": "", "label": "\x01é" * 100}]
)
def test_an_item_never_takes_more_than_was_reckoned(fields: dict[str, object]) -> None:
    assert len(json.dumps(fields, ensure_ascii=False).encode()) <= bytes_of(fields)
