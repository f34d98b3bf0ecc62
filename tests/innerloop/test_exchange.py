from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from innerloop import calls
from innerloop.errors import ApiError, QueueFullError, ServerUnreachableError, UnexpectedAnswerError
from innerloop.exchange import Call, reaching, read_answer
from innerloop.wire import AdaptedSession
from tests.innerloop.server import INFO, answer, problem

REQUEST = httpx2.Request("GET", "http://host/v1/info")


def received(response: httpx2.Response) -> httpx2.Response:
    response.request = REQUEST
    return response


@pytest.mark.parametrize("code", [error.code for error in ApiError.__subclasses__()])
def test_a_problem_becomes_the_class_with_its_code(code: str) -> None:
    with pytest.raises(ApiError, match="bad luck") as caught:
        read_answer(calls.info(), received(problem(code, detail="bad luck", field="support[1]")))
    assert type(caught.value).code == code
    assert caught.value.problem.field == "support[1]"


def test_a_code_of_a_newer_server_is_a_plain_refusal() -> None:
    with pytest.raises(ApiError) as caught:
        read_answer(calls.info(), received(problem("not_invented_yet")))
    assert type(caught.value) is ApiError
    assert caught.value.problem.code == "not_invented_yet"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("-7", 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        (None, None),
    ],
)
@pytest.mark.parametrize(
    ("answered", "kind"),
    [(problem("queue_full", status=429), QueueFullError), (httpx2.Response(503, html="<h1>Busy</h1>"), UnexpectedAnswerError)],
    ids=["the server's", "a proxy's"],
)
def test_retry_after_is_read_as_seconds_or_as_a_moment(
    answered: httpx2.Response, kind: type[QueueFullError | UnexpectedAnswerError], header: str | None, seconds: float | None
) -> None:
    told = {} if header is None else {"Retry-After": header}
    headers = {**answered.headers, "Date": "Wed, 21 Oct 2026 07:27:30 GMT", **told}
    with pytest.raises(kind) as caught:
        read_answer(calls.info(), received(httpx2.Response(answered.status_code, content=answered.content, headers=headers)))
    assert getattr(caught.value, "retry_after_seconds", "absent") == seconds


def test_a_moment_is_waited_for_by_the_clock_here_where_the_answer_names_none() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    with pytest.raises(UnexpectedAnswerError) as caught:
        read_answer(calls.info(), received(httpx2.Response(503, html="<h1>Busy</h1>", headers={"Retry-After": soon})))
    assert 55 < (caught.value.retry_after_seconds or 0) <= 60


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
        read_answer(calls.info(), received(response))


def test_an_answer_may_say_more_than_this_client_knows() -> None:
    response = httpx2.Response(200, json=INFO.model_dump() | {"colour": "blue"})
    assert read_answer(calls.info(), response) == INFO


def test_an_answer_of_another_call_is_not_taken() -> None:
    call = Call("GET", "/v1/info", AdaptedSession.model_validate_json)
    with pytest.raises(UnexpectedAnswerError):
        read_answer(call, received(answer(INFO)))


@pytest.mark.parametrize("error", [httpx2.ConnectError("refused"), httpx2.ReadTimeout(""), httpx2.InvalidURL("bad port")])
def test_no_answer_names_the_address_and_what_to_do(error: Exception) -> None:
    with pytest.raises(ServerUnreachableError, match=r"no answer from http://host: \w+.*innerloop serve"), reaching("http://host"):
        raise error


def test_an_unreadable_answer_is_not_ours() -> None:
    with pytest.raises(UnexpectedAnswerError, match="http://host"), reaching("http://host"):
        raise httpx2.DecodingError("bad gzip")


def test_bytes_are_taken_as_they_are_but_for_a_page_of_a_proxy() -> None:
    call = calls.export("ses_1", format="onnx", revision=None)
    assert (
        read_answer(call, received(httpx2.Response(200, content=b"\x08\x0a", headers={"Content-Type": "application/octet-stream"})))
        == b"\x08\x0a"
    )
    with pytest.raises(UnexpectedAnswerError):
        read_answer(call, received(httpx2.Response(200, html="<h1>Welcome</h1>")))


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (httpx2.ConnectError("refused"), True),
        (httpx2.ReadTimeout(""), True),
        (httpx2.InvalidURL("bad port"), False),
        (httpx2.UnsupportedProtocol("no http"), False),
    ],
)
def test_an_address_that_is_none_will_not_answer_later_either(error: Exception, passing: bool) -> None:
    with pytest.raises(ServerUnreachableError) as caught, reaching("http://host"):
        raise error
    assert caught.value.passing == passing
