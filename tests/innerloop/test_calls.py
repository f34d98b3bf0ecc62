import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from innerloop import calls
from innerloop.errors import UnusableInputError, WrongAnswerKindError
from innerloop.exchange import Call
from innerloop.inputs import Fields
from innerloop.wire import CreateSession, Estimates, GrowSession, OneCallRequest, Predictions, PredictRequest

ONE: list[Fields] = [{"image": "MQ==", "label": "a"}]
SUPPORT: list[Fields] = [*ONE, {"image": "Mg==", "label": "b"}]


def test_adapt_asks_for_what_was_given_and_leaves_the_rest_to_the_server() -> None:
    call = calls.adapt(SUPPORT, model="omniglot", steps=0, scope=None, name=None, ttl_seconds=None)
    assert (call.method, call.path) == ("POST", "/v1/sessions")
    body = CreateSession.model_validate_json(call.content or b"")
    assert body.model_fields_set == {"support", "model", "steps"}
    assert ([(one.label, one.image) for one in body.support], body.steps) == ([("a", b"1"), ("b", b"2")], 0)


def test_a_fork_may_bring_no_examples_of_its_own() -> None:
    body = CreateSession.model_validate_json(calls.adapt(None, from_session="ses_1", keep_support=False).content or b"")
    assert body.model_fields_set == {"from_session", "keep_support"}
    assert (body.from_session, body.keep_support, body.support) == ("ses_1", False, ())


def test_predict_is_a_valid_request() -> None:
    call = calls.predict("ses_1", [{"image": "MQ=="}, {"vector": [0.5]}], Predictions, top_k=2, revision=3, nearest=4)
    body = PredictRequest.model_validate_json(call.content or b"")
    assert (call.path, [one.image for one in body.queries]) == ("/v1/sessions/ses_1/predict", [b"1", None])
    assert (body.top_k, body.revision, body.nearest) == (2, 3, 4)


def test_the_newest_revision_is_asked_by_naming_none() -> None:
    assert b"revision" not in (calls.predict("ses_1", [{"image": "MQ=="}], Predictions, top_k=2, revision=None).content or b"")


def test_one_call_predict_is_a_valid_request() -> None:
    call = calls.predict_once(ONE, [{"image": "Mg=="}], Predictions, model=None, steps=3, top_k=2)
    body = OneCallRequest.model_validate_json(call.content or b"")
    assert (body.support[0].image, body.queries[0].image, body.model, body.steps, body.top_k) == (b"1", b"2", None, 3, 2)


@pytest.mark.parametrize("option", [{"name": "half \udcff"}, {"ttl_seconds": float("inf")}])
def test_an_option_that_json_cannot_say_is_refused_before_sending(option: dict[str, object]) -> None:
    with pytest.raises(UnusableInputError, match="whole characters, and finite numbers"):
        calls.adapt(ONE, idempotency_key=None, **option)


@pytest.mark.parametrize("build", [calls.session, calls.model, lambda text: calls.sessions(None, name=text)])
def test_half_a_character_in_an_address_is_refused_before_sending(build: Callable[[str], object]) -> None:
    with pytest.raises(UnusableInputError, match="whole characters"):
        build("half \udcff")


def test_a_label_may_be_in_any_script() -> None:
    body = CreateSession.model_validate_json(calls.adapt([{"image": "MQ==", "label": "ア"}]).content or b"")
    assert body.support[0].label == "ア"


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (calls.session("a/../b?c"), "GET /v1/sessions/a%2F..%2Fb%3Fc"),
        (calls.delete("ses_1"), "DELETE /v1/sessions/ses_1"),
        (calls.sessions(None), "GET /v1/sessions"),
        (calls.sessions("ses_1", name="a b", model=None), "GET /v1/sessions?after=ses_1&name=a+b"),
        (
            calls.sessions(None, created_from=datetime(2026, 1, 2, tzinfo=UTC)),
            "GET /v1/sessions?created_from=2026-01-02T00%3A00%3A00%2B00%3A00",
        ),
        (calls.delete_sessions(confirm=False), "DELETE /v1/sessions?confirm=false"),
        (calls.delete_sessions(confirm=True, name="x"), "DELETE /v1/sessions?confirm=true&name=x"),
        (calls.examples("a/b", 7), "GET /v1/sessions/a%2Fb/examples?after=7"),
        (calls.remove("ses_1", [3, 5], expected_revision=None), "DELETE /v1/sessions/ses_1/examples?id=3&id=5"),
        (calls.export("ses_1", format="onnx", revision=2), "GET /v1/sessions/ses_1/weights?format=onnx&revision=2"),
        (calls.import_session(b"", name="n", ttl_seconds=None), "POST /v1/sessions/import?name=n"),
        (calls.models(), "GET /v1/models"),
        (calls.model("omniglot@1"), "GET /v1/models/omniglot@1"),
        (calls.info(), "GET /v1/info"),
    ],
)
def test_an_id_cannot_leave_its_place_in_the_path(call: Call[object], line: str) -> None:
    assert f"{call.method} {call.path}" == line


def test_adding_says_which_revision_it_expects_and_which_request_it_is() -> None:
    call = calls.add("ses_1", ONE, expected_revision=3, idempotency_key="once")
    assert (call.method, call.path) == ("POST", "/v1/sessions/ses_1/examples")
    assert call.headers == {"If-Match": '"3"', "Idempotency-Key": "once"}
    assert GrowSession.model_validate_json(call.content or b"").support[0].label == "a"


def test_more_ids_than_an_address_holds_are_refused_before_sending() -> None:
    assert len(calls.remove("ses_1", range(10**6, 10**6 + calls.MAX_IDS), expected_revision=None).path) < 65_000
    with pytest.raises(UnusableInputError, match="at most 5,000 ids in one call, got 5,001"):
        calls.remove("ses_1", range(calls.MAX_IDS + 1), expected_revision=None)


def test_revision_zero_is_an_expectation_too() -> None:
    assert calls.remove("ses_1", [1], expected_revision=0).headers["If-Match"] == '"0"'


def test_an_empty_filter_is_still_a_filter() -> None:
    assert calls.delete_sessions(confirm=True, name="", model=None).path == "/v1/sessions?confirm=true&name="


def test_a_time_is_sent_in_its_own_zone() -> None:
    moment = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=-5)))
    assert calls.sessions(None, created_until=moment).path.endswith("?created_until=2026-01-02T03%3A00%3A00-05%3A00")


def test_an_import_is_bytes_and_says_so() -> None:
    call = calls.import_session(b"\0weights", name="a & b", ttl_seconds=9.5)
    assert call.path == "/v1/sessions/import?name=a+%26+b&ttl_seconds=9.5"
    assert (call.content, call.headers["Content-Type"]) == (b"\0weights", "application/octet-stream")


@pytest.mark.parametrize("key", ["é", "line\nbreak", "a\r\nHost: elsewhere", "\0"])
def test_a_key_that_a_header_cannot_hold_is_refused_before_sending(key: str) -> None:
    with pytest.raises(UnusableInputError, match="plain ASCII"):
        calls.adapt(ONE, idempotency_key=key)


def test_a_change_says_only_what_changes() -> None:
    call = calls.change("ses_1", name=None, pinned=False, ttl_seconds=None)
    assert (call.method, call.path, call.content) == ("PATCH", "/v1/sessions/ses_1", b'{"pinned": false}')


@pytest.mark.parametrize(
    "build",
    [
        lambda: calls.adapt(ONE),
        lambda: calls.add("ses_1", ONE, expected_revision=None, idempotency_key=None),
        lambda: calls.remove("ses_1", [1], expected_revision=None),
        lambda: calls.import_session(b""),
    ],
)
def test_what_makes_something_has_a_key_of_its_own_and_may_be_sent_again(build: Callable[[], Call[object]]) -> None:
    first, second = build(), build()
    assert first.repeatable
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]


@pytest.mark.parametrize("call", [calls.change("ses_1", name="x"), calls.delete_sessions(confirm=True)])
def test_a_call_that_does_more_when_sent_twice_is_not_repeatable(call: Call[object]) -> None:
    assert not call.repeatable


def _answers(session: str | None, *predictions: dict[str, object]) -> bytes:
    whole = {"session": session, "revision": 1, "model": "m@1", "weights_digest": "0", "predictions": predictions}
    return json.dumps({**whole, "milliseconds": {"decode": 0, "queue": 0, "compute": 0}}).encode()


LABELLED = {"label": "a", "score": 0.9, "margin": 0.8, "unfamiliar": False, "top": []}


@pytest.mark.parametrize(
    ("kind", "one", "says"),
    [(Predictions, {"target": [1.0]}, "predicts numbers; use estimate()"), (Estimates, LABELLED, "predicts labels; use predict()")],
)
def test_an_answer_of_the_other_kind_says_what_to_use(kind: type[Any], one: dict[str, object], says: str) -> None:
    with pytest.raises(WrongAnswerKindError) as session:
        calls.predict("s", [], kind).read(_answers("s", one))
    with pytest.raises(WrongAnswerKindError) as once:
        calls.predict_once([], [], kind).read(_answers(None, one))
    assert (str(session.value), str(once.value)) == (f"this session {says}", f"meta-model m@1 {says}")


def test_what_is_neither_kind_of_answer_is_not_taken() -> None:
    for call in (calls.predict("s", [], Predictions), calls.predict("s", [], Estimates)):
        with pytest.raises(ValidationError):
            call.read(_answers("s", {"colour": "blue"}))
