"""Every call of the HTTP API as a value, and the reading of its answer; no network here."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ValidationError

from innerloop.errors import ApiError, ServerUnreachableError, UnexpectedAnswerError, UnusableInputError
from innerloop.inputs import Input, query_fields, support_fields
from innerloop.wire import AdaptedSession, ModelInfo, ModelList, Predictions, Problem, ServerInfo, SessionInfo, SessionList

AnswerT_co = TypeVar("AnswerT_co", covariant=True)
ModelT = TypeVar("ModelT", bound=BaseModel)

HEADERS = {"Content-Type": "application/json"}

_ERRORS = {error.code: error for error in ApiError.__subclasses__()}


@dataclass(frozen=True, slots=True)
class Call(Generic[AnswerT_co]):
    """One HTTP request, and how to read the body of its answer."""

    method: str
    path: str
    read: Callable[[bytes], AnswerT_co]
    content: bytes | None = None  # JSON
    params: Mapping[str, str] | None = None


def adapt(support: Mapping[str, Iterable[Input]], **options: object) -> Call[AdaptedSession]:
    """Options that are None are left to the server."""
    return Call("POST", "/v1/sessions", _as(AdaptedSession), content=_json(support=support_fields(support), **options))


def session(session_id: str) -> Call[SessionInfo]:
    return Call("GET", _session_path(session_id), _as(SessionInfo))


def sessions(after: str | None) -> Call[SessionList]:
    """One page, from the cursor `after` of the page before."""
    return Call("GET", "/v1/sessions", _as(SessionList), params={"after": after} if after else None)


def delete(session_id: str) -> Call[None]:
    return Call("DELETE", _session_path(session_id), _nothing)


def predict(session_id: str, queries: Iterable[Input], *, top_k: int) -> Call[Predictions]:
    return Call("POST", f"{_session_path(session_id)}/predict", _as(Predictions), content=_json(queries=query_fields(queries), top_k=top_k))


def predict_once(support: Mapping[str, Iterable[Input]], queries: Iterable[Input], **options: object) -> Call[Predictions]:
    """Options that are None are left to the server."""
    content = _json(support=support_fields(support), queries=query_fields(queries), **options)
    return Call("POST", "/v1/predict", _as(Predictions), content=content)


def models() -> Call[ModelList]:
    return Call("GET", "/v1/models", _as(ModelList))


def model(name: str) -> Call[ModelInfo]:
    return Call("GET", f"/v1/models/{quote(name, safe='@')}", _as(ModelInfo))


def info() -> Call[ServerInfo]:
    return Call("GET", "/v1/info", _as(ServerInfo))


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Around the sending, blocking or async: the network's errors become ours.

    Raises:
        ServerUnreachableError: no answer: refused, timed out, broken off, or no such address.
        UnexpectedAnswerError: an answer that is not readable HTTP.
    """
    try:
        yield
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        reason = str(error) or type(error).__name__  # a timeout has no message
        raise ServerUnreachableError(f"no answer from {url}: {reason}; check the address, and that `innerloop serve` runs there") from error
    except httpx2.RequestError as error:
        raise UnexpectedAnswerError(f"cannot read the answer of {url}: {error}; check the address") from error


def read_answer(call: Call[AnswerT_co], response: httpx2.Response) -> AnswerT_co:
    """What the call asked for.

    Raises:
        ApiError: the server refused; the subclass is the one with the problem's code, `ApiError` itself for a code of a newer server.
        UnexpectedAnswerError: neither the answer nor a problem document.
    """
    try:
        if response.is_success:
            return call.read(response.content)
        problem = Problem.model_validate_json(response.content)
    except ValidationError as error:
        raise _unexpected(call, response) from error
    raise _ERRORS.get(problem.code, ApiError)(problem, retry_after_seconds=_retry_after(response))


def _session_path(session_id: str) -> str:
    return f"/v1/sessions/{quote(session_id, safe='')}"


def _json(**fields: object) -> bytes:
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return json.dumps(given, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # half a character in a label or name; an infinite lifetime
        raise UnusableInputError(
            f"expected labels and names of whole characters, and finite numbers: {error}; change what it names"
        ) from error


def _as(model: type[ModelT]) -> Callable[[bytes], ModelT]:
    # A newer server may say more than this client knows.
    return partial(model.model_validate_json, extra="ignore")


def _nothing(_body: bytes) -> None:
    return None


def _retry_after(response: httpx2.Response) -> float | None:
    try:
        return float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None


def _unexpected(call: Call[AnswerT_co], response: httpx2.Response) -> UnexpectedAnswerError:
    kind = response.headers.get("Content-Type", "no content type")
    return UnexpectedAnswerError(
        f"expected an Innerloop answer to {call.method} {response.url}, got {response.status_code} ({kind}); "
        "check the address, and that client and server are of the same version"
    )
