import httpx2
import pytest

from innerloop import calls
from innerloop.errors import ApiError, QueueFullError, ServerUnreachableError, UnexpectedAnswerError, UnusableInputError
from innerloop.wire import AdaptedSession, CreateSession, OneCallRequest, PredictRequest
from tests.innerloop.server import INFO, answer, problem

REQUEST = httpx2.Request("GET", "http://host/v1/info")


def received(response: httpx2.Response) -> httpx2.Response:
    response.request = REQUEST
    return response


def test_adapt_asks_for_what_was_given_and_leaves_the_rest_to_the_server() -> None:
    call = calls.adapt({"a": [b"1"], "b": [b"2"]}, model="omniglot", steps=0, scope=None, name=None, ttl_seconds=None)
    assert (call.method, call.path) == ("POST", "/v1/sessions")
    body = CreateSession.model_validate_json(call.content or b"")
    assert body.model_fields_set == {"support", "model", "steps"}
    assert ([(one.label, one.image) for one in body.support], body.steps) == ([("a", b"1"), ("b", b"2")], 0)


def test_predict_is_a_valid_request() -> None:
    call = calls.predict("ses_1", [b"1", [0.5]], top_k=2)
    body = PredictRequest.model_validate_json(call.content or b"")
    assert (call.path, [one.image for one in body.queries], body.top_k) == ("/v1/sessions/ses_1/predict", [b"1", None], 2)


def test_one_call_predict_is_a_valid_request() -> None:
    call = calls.predict_once({"a": [b"1"]}, [b"2"], model=None, steps=3, top_k=2)
    body = OneCallRequest.model_validate_json(call.content or b"")
    assert (body.support[0].image, body.queries[0].image, body.model, body.steps, body.top_k) == (b"1", b"2", None, 3, 2)


@pytest.mark.parametrize("option", [{"name": "half \udcff"}, {"ttl_seconds": float("inf")}])
def test_an_option_that_json_cannot_say_is_refused_before_sending(option: dict[str, object]) -> None:
    with pytest.raises(UnusableInputError, match="whole characters, and finite numbers"):
        calls.adapt({"a": [b"1"]}, **option)


def test_a_label_may_be_in_any_script() -> None:
    body = CreateSession.model_validate_json(calls.adapt({"ア": [b"1"]}).content or b"")
    assert body.support[0].label == "ア"


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (calls.session("a/../b?c"), "GET /v1/sessions/a%2F..%2Fb%3Fc"),
        (calls.delete("ses_1"), "DELETE /v1/sessions/ses_1"),
        (calls.sessions(None), "GET /v1/sessions"),
        (calls.models(), "GET /v1/models"),
        (calls.model("omniglot@1"), "GET /v1/models/omniglot@1"),
        (calls.info(), "GET /v1/info"),
    ],
)
def test_an_id_cannot_leave_its_place_in_the_path(call: calls.Call[object], line: str) -> None:
    assert f"{call.method} {call.path}" == line


@pytest.mark.parametrize("code", [error.code for error in ApiError.__subclasses__()])
def test_a_problem_becomes_the_class_with_its_code(code: str) -> None:
    with pytest.raises(ApiError, match="bad luck") as caught:
        calls.read_answer(calls.info(), received(problem(code, detail="bad luck", field="support[1]")))
    assert type(caught.value).code == code
    assert caught.value.problem.field == "support[1]"


def test_a_code_of_a_newer_server_is_a_plain_refusal() -> None:
    with pytest.raises(ApiError) as caught:
        calls.read_answer(calls.info(), received(problem("not_invented_yet")))
    assert type(caught.value) is ApiError
    assert caught.value.problem.code == "not_invented_yet"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), (None, None)])
def test_retry_after_is_read_when_it_counts_seconds(header: str | None, seconds: float | None) -> None:
    response = problem("queue_full", status=429)
    response.headers.update({"Retry-After": header} if header else {})
    with pytest.raises(QueueFullError) as caught:
        calls.read_answer(calls.info(), received(response))
    assert caught.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "response",
    [
        httpx2.Response(502, html="<h1>Bad gateway</h1>"),
        httpx2.Response(404, json={"detail": "Not Found"}),
        httpx2.Response(307, headers={"Location": "/elsewhere"}),
        httpx2.Response(200, html="<h1>Welcome</h1>"),
        httpx2.Response(200, json={"version": "0.1.0"}),
        httpx2.Response(204),
    ],
)
def test_an_answer_that_is_not_ours_names_the_address_and_what_came(response: httpx2.Response) -> None:
    with pytest.raises(UnexpectedAnswerError, match=f"GET http://host/v1/info, got {response.status_code}"):
        calls.read_answer(calls.info(), received(response))


def test_an_answer_may_say_more_than_this_client_knows() -> None:
    response = httpx2.Response(200, json=INFO.model_dump() | {"colour": "blue"})
    assert calls.read_answer(calls.info(), response) == INFO


def test_an_answer_of_another_call_is_not_taken() -> None:
    call = calls.Call("GET", "/v1/info", AdaptedSession.model_validate_json)
    with pytest.raises(UnexpectedAnswerError):
        calls.read_answer(call, received(answer(INFO)))


@pytest.mark.parametrize("error", [httpx2.ConnectError("refused"), httpx2.ReadTimeout(""), httpx2.InvalidURL("bad port")])
def test_no_answer_names_the_address_and_what_to_do(error: Exception) -> None:
    with pytest.raises(ServerUnreachableError, match=r"no answer from http://host: \w+.*innerloop serve"), calls.reaching("http://host"):
        raise error


def test_an_unreadable_answer_is_not_ours() -> None:
    with pytest.raises(UnexpectedAnswerError, match="http://host"), calls.reaching("http://host"):
        raise httpx2.DecodingError("bad gzip")
