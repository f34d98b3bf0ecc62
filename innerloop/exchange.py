"""One exchange with a server: the request as a value, the network's errors as ours, the reading of the answer; nothing is sent here."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Generic, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from innerloop.errors import ApiError, ServerUnreachableError, UnexpectedAnswerError
from innerloop.wire import Problem

AnswerT_co = TypeVar("AnswerT_co", covariant=True)
ModelT = TypeVar("ModelT", bound=BaseModel)

HEADERS = {"Content-Type": "application/json"}

_NEVER_SENT = (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)

_ERRORS = {error.code: error for error in ApiError.__subclasses__()}


@dataclass(frozen=True, slots=True)
class Call(Generic[AnswerT_co]):
    """One HTTP request, and how to read the body of its answer.

    Attributes:
        path: with its query string.
        content: JSON, unless the headers say otherwise.
        repeatable: sent twice, it does what it does when it is sent once.
        done_if: what the server says to a second try when the first one, whose answer was lost, has done it.
    """

    method: str
    path: str
    read: Callable[[bytes], AnswerT_co]
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    done_if: type[ApiError] | None = None


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
        raise ServerUnreachableError(
            f"no answer from {url}: {reason}; check the address, and that `innerloop serve` runs there",
            passing=not isinstance(error, _NEVER_SENT),
        ) from error
    except httpx2.RequestError as error:
        raise UnexpectedAnswerError(f"cannot read the answer of {url}: {error}; check the address") from error


def read_answer(call: Call[AnswerT_co], response: httpx2.Response) -> AnswerT_co:
    """What the call asked for.

    Raises:
        ApiError: the server refused; the subclass is the one with the problem's code, `ApiError` itself for a code of a newer server.
        UnexpectedAnswerError: neither the answer nor a problem document.
    """
    try:
        if response.is_success and not _is_page(response):
            return call.read(response.content)
        problem = Problem.model_validate_json(response.content)
    except ValidationError as error:
        raise _unexpected(call, response) from error
    raise _ERRORS.get(problem.code, ApiError)(problem, retry_after_seconds=_retry_after(response))


def read_as(model: type[ModelT]) -> Callable[[bytes], ModelT]:
    """Reads a body of JSON; a newer server may say more than this client knows."""
    return partial(model.model_validate_json, extra="ignore")


def read_nothing(_body: bytes) -> None:
    return None


def _is_page(response: httpx2.Response) -> bool:
    # Weights may be any bytes, so only this tells them from the page of a proxy.
    return bool(response.headers.get("Content-Type", "").startswith("text/"))


def _retry_after(response: httpx2.Response) -> float | None:
    """The seconds of the header, which counts them or names a moment; none where it says neither."""
    told = response.headers.get("Retry-After", "")
    try:
        seconds = float(told)
    except ValueError:
        until = _moment(told)
        # By the clock that named the moment, if it says its own: ours may be another.
        now = _moment(response.headers.get("Date", "")) or time.time()
        return None if until is None else max(until - now, 0.0)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _moment(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def _unexpected(call: Call[AnswerT_co], response: httpx2.Response) -> UnexpectedAnswerError:
    kind = response.headers.get("Content-Type", "no content type")
    return UnexpectedAnswerError(
        f"expected an Innerloop answer to {call.method} {response.url}, got {response.status_code} ({kind}); "
        "check the address, and that client and server are of the same version",
        status=response.status_code,
        retry_after_seconds=_retry_after(response),
    )
