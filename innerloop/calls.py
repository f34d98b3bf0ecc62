"""Every call of the HTTP API as a value; what is None in one is left to the server."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from innerloop.errors import UnusableInputError
from innerloop.exchange import Call, read_as, read_nothing
from innerloop.inputs import Input, Support, query_fields, support_fields
from innerloop.wire import (
    AdaptedSession,
    Deleted,
    ExampleList,
    ModelInfo,
    ModelList,
    Predictions,
    ServerInfo,
    SessionInfo,
    SessionList,
)

PageT = TypeVar("PageT", SessionList, ExampleList)

MAX_IDS = 5_000  # they travel in the address, which may have 64 KiB

Cursor: TypeAlias = str | int | None
Format: TypeAlias = Literal["safetensors", "onnx"]


def adapt(support: Support | None, *, idempotency_key: str | None = None, **options: object) -> Call[AdaptedSession]:
    """With the option `from_session` it is a fork, and the support set may be None."""
    fields = None if support is None else support_fields(support)
    headers = _headers(idempotency_key=idempotency_key)
    return Call("POST", "/v1/sessions", read_as(AdaptedSession), content=_json(support=fields, **options), headers=headers)


def session(session_id: str) -> Call[SessionInfo]:
    return Call("GET", _session_path(session_id), read_as(SessionInfo))


def sessions(after: Cursor, **wanted: object) -> Call[SessionList]:
    """One page of those that the filter means, from the cursor `after` of the page before."""
    return Call("GET", _asking("/v1/sessions", after=after, **wanted), read_as(SessionList))


def delete_sessions(*, confirm: bool, **wanted: object) -> Call[Deleted]:
    return Call("DELETE", _asking("/v1/sessions", confirm=confirm, **wanted), read_as(Deleted))


def change(session_id: str, **changes: object) -> Call[SessionInfo]:
    return Call("PATCH", _session_path(session_id), read_as(SessionInfo), content=_json(**changes))


def delete(session_id: str) -> Call[None]:
    return Call("DELETE", _session_path(session_id), read_nothing)


def examples(session_id: str, after: Cursor) -> Call[ExampleList]:
    """One page, from the cursor `after` of the page before."""
    return Call("GET", _asking(_examples_path(session_id), after=after), read_as(ExampleList))


def add(session_id: str, support: Support, *, expected_revision: int | None, idempotency_key: str | None) -> Call[AdaptedSession]:
    headers = _headers(expected_revision=expected_revision, idempotency_key=idempotency_key)
    return Call(
        "POST", _examples_path(session_id), read_as(AdaptedSession), content=_json(support=support_fields(support)), headers=headers
    )


def remove(session_id: str, ids: Iterable[int], *, expected_revision: int | None) -> Call[AdaptedSession]:
    numbers = [f"{one:d}" for one in ids]
    if len(numbers) > MAX_IDS:
        raise UnusableInputError(f"expected at most {MAX_IDS:,} ids in one call, got {len(numbers):,}; remove them in several")
    path = _asking(_examples_path(session_id), id=numbers)
    return Call("DELETE", path, read_as(AdaptedSession), headers=_headers(expected_revision=expected_revision))


def predict(session_id: str, queries: Iterable[Input], *, top_k: int, revision: int | None) -> Call[Predictions]:
    content = _json(queries=query_fields(queries), top_k=top_k, revision=revision)
    return Call("POST", f"{_session_path(session_id)}/predict", read_as(Predictions), content=content)


def predict_once(support: Support, queries: Iterable[Input], **options: object) -> Call[Predictions]:
    content = _json(support=support_fields(support), queries=query_fields(queries), **options)
    return Call("POST", "/v1/predict", read_as(Predictions), content=content)


def export(session_id: str, *, format: Format, revision: int | None) -> Call[bytes]:
    return Call("GET", _asking(f"{_session_path(session_id)}/weights", format=format, revision=revision), bytes)


def import_session(content: bytes, **options: object) -> Call[AdaptedSession]:
    headers = {"Content-Type": "application/octet-stream"}
    return Call("POST", _asking("/v1/sessions/import", **options), read_as(AdaptedSession), content=content, headers=headers)


def models() -> Call[ModelList]:
    return Call("GET", "/v1/models", read_as(ModelList))


def model(name: str) -> Call[ModelInfo]:
    return Call("GET", f"/v1/models/{_quoted(name, safe='@')}", read_as(ModelInfo))


def info() -> Call[ServerInfo]:
    return Call("GET", "/v1/info", read_as(ServerInfo))


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
