import socket
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from innerloop import (
    Client,
    DrainingError,
    InvalidRequestError,
    QueueFullError,
    RevisionChangedError,
    ServerUnreachableError,
    SessionGoneError,
    SessionNotFoundError,
    SupportNotKeptError,
    UnusableInputError,
    UnusableSupportError,
    WrongAnswerKindError,
)
from innerloop.retries import Retries
from tests.innerloop.server import INFO, OMNIGLOT, FakeServer, problem

SUPPORT = {"b": [b"1", b"2"], "a": [b"3"]}


AT_ONCE = Retries(first_wait_seconds=0)


def client_of(server: FakeServer, *, retries: Retries = AT_ONCE) -> Client:
    return Client("http://host", retries=retries, transport=server.transport)


def test_a_session_knows_what_it_was_adapted_to_and_predicts(server: FakeServer) -> None:
    with client_of(server) as client:
        session = client.adapt("omniglot", SUPPORT, steps=2, scope="head", name="mine", ttl_seconds=60)
        answer = session.predict([b"4", b"5"], top_k=1)
    assert (session.id, session.labels, session.info.steps, session.info.name) == ("ses_0", ("a", "b"), 2, "mine")
    assert [one.label for one in answer.predictions] == ["a", "a"]
    assert answer.session == session.id


def test_a_prediction_names_the_nearest_examples_when_asked_to(server: FakeServer) -> None:
    with client_of(server) as client:
        session = client.adapt(None, SUPPORT)
        near = session.predict([b"4"], nearest=2).predictions[0].nearest
        assert [(one.id, one.label, one.distance) for one in near] == [(1, "b", 0.125), (2, "b", 0.25)]
        assert session.predict([b"4"]).predictions[0].nearest == ()
        with pytest.raises(SupportNotKeptError):
            client.adapt(None, SUPPORT, keep_support=False).predict([b"4"], nearest=1)


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


def test_a_session_grows_and_shrinks_as_values(server: FakeServer) -> None:
    with client_of(server) as client:
        first = client.adapt(None, SUPPORT, idempotency_key="once")
        assert server.requests[-1].headers["Idempotency-Key"] == "once"
        second = first.add({"c": [b"6"]}, expected_revision=1)
        assert (first.revision, second.revision, second.added) == (1, 2, (4,))
        assert [(one.id, one.label) for one in second.examples()] == [(1, "b"), (2, "b"), (3, "a"), (4, "c")]
        third = second.remove([4, 1], expected_revision=2)
        assert (third.revision, third.labels, third.added) == (3, ("a", "b"), ())
        with pytest.raises(RevisionChangedError):
            second.add({"c": [b"6"]}, expected_revision=2)
        with pytest.raises(RevisionChangedError, match="the newest revision is 3"):
            second.remove([2], expected_revision=2)
        assert (first.refresh().revision, first.refresh().added, first.refresh().client) == (3, (), client)


def test_examples_come_from_every_page_once(server: FakeServer) -> None:
    with client_of(server) as client:
        session = client.adapt(None, {"b": [b"1", b"2"], "a": [b"3", b"4", b"5"]})
        assert [example.id for example in session.examples()] == [1, 2, 3, 4, 5]
    assert [request.url.params.get("after") for request in server.requests[1:]] == [None, "2", "4"]


def test_an_added_example_may_name_its_request(server: FakeServer) -> None:
    with client_of(server) as client:
        client.adapt(None, SUPPORT).add({"c": [b"6"]}, idempotency_key="once")
    assert (server.requests[-1].headers["Idempotency-Key"], "If-Match" in server.requests[-1].headers) == ("once", False)


def test_a_session_made_without_its_support_set_does_not_grow(server: FakeServer) -> None:
    with client_of(server) as client:
        session = client.adapt(None, SUPPORT, keep_support=False)
        assert session.info.keeps_support is False
        with pytest.raises(SupportNotKeptError):
            session.add({"c": [b"6"]})


def test_a_fork_takes_every_option(server: FakeServer) -> None:
    options = {"steps": 2, "scope": "all", "name": "fork", "ttl_seconds": 9, "keep_support": False}
    with client_of(server) as client:
        source = client.adapt(None, SUPPORT)
        source.fork()
        assert server.body == {"from_session": source.id}
        source.fork(steps=2, scope="all", name="fork", ttl_seconds=9, keep_support=False, idempotency_key="once")
    assert server.body == {"from_session": source.id, **options}
    assert server.requests[-1].headers["Idempotency-Key"] == "once"


def test_a_change_gives_a_new_value(server: FakeServer) -> None:
    with client_of(server) as client:
        session = client.adapt(None, SUPPORT, name="old")
        pinned = session.change(pinned=True)
        assert (pinned.info.pinned, pinned.info.expires_at, pinned.info.name) == (True, None, "old")
        named = pinned.change(name="new", pinned=False, ttl_seconds=9)
    assert (named.info.name, named.info.pinned, server.body["ttl_seconds"]) == ("new", False, 9)
    assert (session.info.name, session.info.pinned) == ("old", False)


def test_sessions_are_filtered_on_every_page(server: FakeServer) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    with client_of(server) as client:
        for name in ("x", "y", "x", "x"):
            client.adapt(None, SUPPORT, name=name)
        found = client.sessions(name="x", model="omniglot", created_from=moment, created_until=moment + timedelta(days=1))
        assert [session.id for session in found] == ["ses_0", "ses_2", "ses_3"]
    times = [("created_from", "2026-01-02T00:00:00+00:00"), ("created_until", "2026-01-03T00:00:00+00:00")]
    assert server.query == [("after", "2"), ("name", "x"), ("model", "omniglot"), *times]


def test_a_session_is_forked_changed_and_asked_at_a_revision(server: FakeServer) -> None:
    with client_of(server) as client:
        session = client.adapt("m", SUPPORT, keep_support=True)
        fork = session.fork({"c": [b"6"]}, name="fork")
        assert (fork.id, fork.info.model, fork.labels) == ("ses_1", "m@1", ("a", "b", "c"))
        assert session.change(pinned=True).info.expires_at is None
        grown = session.add({"c": [b"6"]})
        assert (grown.predict([b"4"]).revision, grown.predict([b"4"], revision=1).revision) == (2, 1)


def test_weights_leave_and_come_back(server: FakeServer) -> None:
    with client_of(server) as client:
        exported = client.adapt(None, SUPPORT).export("onnx", revision=1)
        assert exported == b"onnx of ses_0@1"
        back = client.import_session(exported, name="back", ttl_seconds=60)
    assert (back.id, back.info.name, back.info.weights_digest) == ("ses_1", "back", exported.decode())
    assert server.query == [("name", "back"), ("ttl_seconds", "60")]


def test_sessions_end_by_filter_when_it_is_meant(server: FakeServer) -> None:
    with client_of(server) as client:
        for name in ("one", "two"):
            client.adapt(None, SUPPORT, name=name)
        with pytest.raises(InvalidRequestError):
            client.delete_sessions(confirm=False)
        assert client.delete_sessions(confirm=True, name="one") == 1
        assert [session.info.name for session in client.sessions()] == ["two"]


def test_one_call_predict_keeps_nothing(server: FakeServer) -> None:
    with client_of(server) as client:
        answer = client.predict("omniglot", SUPPORT, [b"4"], steps=1, scope="head", top_k=1)
    assert (answer.session, answer.predictions[0].label, server.sessions) == (None, "b", {})
    assert {"model", "steps", "scope", "top_k"} <= set(server.body)


def test_a_classifier_estimates_nothing_and_says_what_to_use(server: FakeServer) -> None:
    with client_of(server) as client:
        with pytest.raises(WrongAnswerKindError, match=r"this session predicts labels; use predict\(\)"):
            client.adapt(None, SUPPORT).estimate([b"4"])
        with pytest.raises(WrongAnswerKindError, match=r"meta-model omniglot@1 predicts labels; use predict\(\)"):
            client.estimate(None, SUPPORT, [b"4"])


def test_numbers_that_a_classifier_refuses_come_with_how_they_become_labels(server: FakeServer) -> None:
    server.refusal = problem("unusable_support", detail="m@1 tells classes apart", field="support")
    says = r"m@1 tells classes apart; numbers are taken for what is to be predicted: give labels as text, str\(label\)"
    with client_of(server) as client:
        for pair in (([[0.0], [9.0]], [0, 1]), ([[0.0], [9.0]], [0.5, 1.5])):
            with pytest.raises(UnusableSupportError, match=says):
                client.adapt("m", pair)
            with pytest.raises(UnusableSupportError, match=says):
                client.predict("m", pair, [[1.0]])
        with pytest.raises(UnusableSupportError) as caught:
            client.adapt("m", ([[0.0], [9.0]], ["a", "a"]))
    assert str(caught.value) == "m@1 tells classes apart"


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
    with client_of(server, retries=Retries(tries=1)) as client, pytest.raises(QueueFullError, match="12 images wait") as caught:
        client.info()
    assert caught.value.retry_after_seconds == 3


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    with Client(url, retries=AT_ONCE) as client, pytest.raises(ServerUnreachableError, match=f"no answer from {url}"):
        client.info()


@pytest.mark.parametrize("url", ["http://[", "http://host:port"])
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


def test_a_lost_answer_is_asked_for_again_under_the_same_key(server: FakeServer) -> None:
    keys: list[str] = []

    def flaky(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers.get("Idempotency-Key", ""))
        if len(keys) < 3:
            raise httpx2.ReadError("broken off")
        return server.handle(request)

    with Client("http://host", retries=AT_ONCE, transport=httpx2.MockTransport(flaky)) as client:
        assert client.adapt(None, SUPPORT).id == "ses_0"
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert keys[0]


def test_what_is_not_safe_to_repeat_is_sent_once(server: FakeServer) -> None:
    with client_of(server) as client:
        session = client.adapt(None, SUPPORT)
        server.refusal = problem("draining", status=503)
        sent = len(server.requests)
        with pytest.raises(DrainingError):
            session.change(name="x")
        assert len(server.requests) == sent + 1
        with pytest.raises(DrainingError):
            session.refresh()
        assert len(server.requests) == sent + 5


@pytest.mark.parametrize("losing", [True, False])
def test_a_delete_whose_answer_was_lost_is_done(server: FakeServer, losing: bool) -> None:
    def handle(request: httpx2.Request) -> httpx2.Response:
        answered = server.handle(request)
        if request.method != "DELETE":
            return answered
        if answered.status_code == 204 and losing:
            raise httpx2.ReadError("broken off")
        return problem("session_gone", status=410, detail="was deleted")

    with Client("http://host", retries=AT_ONCE, transport=httpx2.MockTransport(handle)) as client:
        session = client.adapt(None, SUPPORT)
        if losing:
            session.delete()
        else:  # somebody else deleted it before
            with pytest.raises(SessionGoneError):
                session.delete()
    assert server.sessions == {}
