"""Every call of the HTTP API as a value; what is None in one is left to the server."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

from pydantic import ValidationError

from innerloop.errors import SessionGoneError, UnusableInputError, WrongAnswerKindError
from innerloop.exchange import Call, read_as, read_nothing
from innerloop.inputs import Fields
from innerloop.wire import (
    AdaptedSession,
    Deleted,
    Estimates,
    ExampleList,
    ModelInfo,
    ModelList,
    Predictions,
    ServerInfo,
    SessionInfo,
    SessionList,
)

PageT = TypeVar("PageT", SessionList, ExampleList)
AnswerT = TypeVar("AnswerT", Predictions, Estimates)

MAX_IDS = 5_000  # they travel in the address, which may have 64 KiB

Cursor: TypeAlias = str | int | None
Format: TypeAlias = Literal["safetensors", "onnx"]


def adapt(support: Sequence[Fields] | None, *, idempotency_key: str | None = None, **options: object) -> Call[AdaptedSession]:
    """With the option `from_session` it is a fork, and the support set may be None."""
    return _made_once("POST", "/v1/sessions", content=_json(support=support, **options), headers=_headers(idempotency_key=idempotency_key))


def session(session_id: str) -> Call[SessionInfo]:
    return Call("GET", _session_path(session_id), read_as(SessionInfo), repeatable=True)


def sessions(after: Cursor, **wanted: object) -> Call[SessionList]:
    """One page of those that the filter means, from the cursor `after` of the page before."""
    return Call("GET", _asking("/v1/sessions", after=after, **wanted), read_as(SessionList), repeatable=True)


def delete_sessions(*, confirm: bool, **wanted: object) -> Call[Deleted]:
    return Call("DELETE", _asking("/v1/sessions", confirm=confirm, **wanted), read_as(Deleted))


def change(session_id: str, **changes: object) -> Call[SessionInfo]:
    return Call("PATCH", _session_path(session_id), read_as(SessionInfo), content=_json(**changes))


def delete(session_id: str) -> Call[None]:
    return Call("DELETE", _session_path(session_id), read_nothing, repeatable=True, done_if=SessionGoneError)


def examples(session_id: str, after: Cursor) -> Call[ExampleList]:
    """One page, from the cursor `after` of the page before."""
    return Call("GET", _asking(_examples_path(session_id), after=after), read_as(ExampleList), repeatable=True)


def add(session_id: str, support: Sequence[Fields], *, expected_revision: int | None, idempotency_key: str | None) -> Call[AdaptedSession]:
    headers = _headers(expected_revision=expected_revision, idempotency_key=idempotency_key)
    return _made_once("POST", _examples_path(session_id), content=_json(support=support), headers=headers)


def remove(session_id: str, ids: Iterable[int], *, expected_revision: int | None) -> Call[AdaptedSession]:
    numbers = [f"{one:d}" for one in ids]
    if len(numbers) > MAX_IDS:
        raise UnusableInputError(f"expected at most {MAX_IDS:,} ids in one call, got {len(numbers):,}; remove them in several")
    path = _asking(_examples_path(session_id), id=numbers)
    return _made_once("DELETE", path, headers=_headers(expected_revision=expected_revision))


def predict(session_id: str, queries: Sequence[Fields], kind: type[AnswerT], **options: object) -> Call[AnswerT]:
    content = _json(queries=queries, **options)
    return Call("POST", f"{_session_path(session_id)}/predict", _read_answers(kind), content=content, repeatable=True)


def predict_once(support: Sequence[Fields], queries: Sequence[Fields], kind: type[AnswerT], **options: object) -> Call[AnswerT]:
    content = _json(support=support, queries=queries, **options)
    return Call("POST", "/v1/predict", _read_answers(kind), content=content, repeatable=True)


def export(session_id: str, *, format: Format, revision: int | None) -> Call[bytes]:
    return Call("GET", _asking(f"{_session_path(session_id)}/weights", format=format, revision=revision), bytes, repeatable=True)


def import_session(content: bytes, **options: object) -> Call[AdaptedSession]:
    headers = {"Content-Type": "application/octet-stream"}
    return _made_once("POST", _asking("/v1/sessions/import", **options), content=content, headers=headers)


def models() -> Call[ModelList]:
    return Call("GET", "/v1/models", read_as(ModelList), repeatable=True)


def model(name: str) -> Call[ModelInfo]:
    return Call("GET", f"/v1/models/{_quoted(name, safe='@')}", read_as(ModelInfo), repeatable=True)


def info() -> Call[ServerInfo]:
    return Call("GET", "/v1/info", read_as(ServerInfo), repeatable=True)


def _made_once(method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str]) -> Call[AdaptedSession]:
    """A call that makes a session or a revision: under its key the server does it once, however often it comes."""
    keyed = {"Idempotency-Key": str(uuid4()), **headers}
    return Call(method, path, read_as(AdaptedSession), content=content, headers=keyed, repeatable=True)


def _read_answers(kind: type[AnswerT]) -> Callable[[bytes], AnswerT]:
    """Reads answers of that kind; raises WrongAnswerKindError where they are of the other."""
    labelled = kind is Predictions
    other: type[Predictions | Estimates] = Estimates if labelled else Predictions
    does = "predicts numbers; use estimate()" if labelled else "predicts labels; use predict()"

    def read(body: bytes) -> AnswerT:
        try:
            return read_as(kind)(body)
        except ValidationError:
            with suppress(ValidationError):
                answer = read_as(other)(body)
                answering = f"meta-model {answer.model}" if answer.session is None else "this session"
                raise WrongAnswerKindError(f"{answering} {does}") from None
            raise

    return read


def _session_path(session_id: str) -> str:
    return f"/v1/sessions/{_quoted(session_id)}"


def _examples_path(session_id: str) -> str:
    return f"{_session_path(session_id)}/examples"


def _quoted(text: str, *, safe: str = "") -> str:
    with _sayable():
        return quote(text, safe=safe)


def _asking(path: str, **fields: object) -> str:
    """The path with a query string of all that is not None."""
    given = {name: _text(value) for name, value in fields.items() if value is not None}
    with _sayable():
        return f"{path}?{urlencode(given, doseq=True)}" if given else path


def _text(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else value


def _json(**fields: object) -> bytes:
    given = {name: value for name, value in fields.items() if value is not None}
    with _sayable():
        return json.dumps(given, ensure_ascii=False, allow_nan=False).encode()


@contextmanager
def _sayable() -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # half a character in a label, name or id; an infinite lifetime
        raise UnusableInputError(
            f"expected labels, names and ids of whole characters, and finite numbers: {error}; change what it names"
        ) from error


def _headers(*, expected_revision: int | None = None, idempotency_key: str | None = None) -> Mapping[str, str]:
    if idempotency_key is not None and not (idempotency_key.isascii() and idempotency_key.isprintable()):
        raise UnusableInputError(f"expected an idempotency key of plain ASCII characters, got {idempotency_key!r}; str(uuid4()) makes one")
    newest = None if expected_revision is None else f'"{expected_revision}"'
    given = {"If-Match": newest, "Idempotency-Key": idempotency_key}
    return {name: value for name, value in given.items() if value is not None}
