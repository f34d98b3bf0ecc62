"""One content-type → decoder table: three forms of a request, one value. A request may also be one file."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from innerloop.wire import NO_ANSWER, Example, Label, Query
from service.errors import InvalidRequestError, TooLargeError, UnsupportedMediaTypeError, UnusableSupportError
from service.inputs.archives import by_class, read_zip
from service.inputs.specification import RawInput
from service.runtime.limits import Limits
from service.runtime.support_set import Labelled

OptionsT = TypeVar("OptionsT", bound=BaseModel)

EntryT = TypeVar("EntryT", bound=Query)

# The content type of a request that is one file.
FILE = "application/octet-stream"

_LABEL: TypeAdapter[str] = TypeAdapter(Label)
_EXAMPLES: TypeAdapter[list[Example]] = TypeAdapter(list[Example])
_QUERIES: TypeAdapter[list[Query]] = TypeAdapter(list[Query])


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded request: raw inputs, and options still as they came."""

    support: Sequence[Labelled] = ()
    queries: Sequence[RawInput] = ()
    options: Sequence[tuple[str, object]] = ()

    def read(self, kind: type[OptionsT]) -> OptionsT:
        """Validate the options.

        Raises:
            InvalidRequestError: an option given twice.
            RequestValidationError: an option that does not exist, or cannot have this value.
        """
        try:
            return kind.model_validate(_once(self.options))
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_url=False)) from None


async def read_body(request: Request, limits: Limits) -> Body:
    """Decode a request by its content type; images are still bytes. Options in the query string join those in the body, if there is one.

    Raises:
        UnsupportedMediaTypeError: a content type without a decoder.
        InvalidRequestError, UnusableSupportError, BrokenArchiveError, TooLargeError: the body cannot be used.
    """
    if _has_no_body(request):
        return Body(options=request.query_params.multi_items())
    content_type = _content_type(request, DECODERS)
    body = await DECODERS[content_type](_limited(request, limits), limits)
    return replace(body, options=(*body.options, *request.query_params.multi_items()))


async def read_file(request: Request, limits: Limits) -> bytes:
    """Give the bytes of a request that is one file.

    Raises:
        UnsupportedMediaTypeError: its content type is not `application/octet-stream`.
        TooLargeError: it has more bytes than allowed.
    """
    _content_type(request, (FILE,))
    return await read_content(request, limits)


async def read_content(request: Request, limits: Limits) -> bytes:
    """Give the bytes of a request, whatever they are.

    Raises:
        TooLargeError: there are more than allowed.
    """
    return await _limited(request, limits).body()


def _has_no_body(request: Request) -> bool:
    """Whether nothing follows the headers, which name no type for it either: a fork without further examples, say."""
    headers = request.headers
    return "content-type" not in headers and "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"


def _content_type(request: Request, taken: Collection[str]) -> str:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in taken:
        raise UnsupportedMediaTypeError(f"expected a Content-Type among {', '.join(taken)}, got {content_type or 'none'!r}")
    return content_type


def _limited(request: Request, limits: Limits) -> Request:
    _refuse_long(int(request.headers.get("content-length") or 0), limits)
    return Request(request.scope, _bounded(request.receive, limits))


def _bounded(receive: Receive, limits: Limits) -> Receive:
    """Count the bytes of a body as they come, whatever its Content-Length says."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        _refuse_long(seen, limits)
        return message

    return counted


def _refuse_long(size: int, limits: Limits) -> None:
    if size > limits.body_bytes:
        raise TooLargeError(f"expected a body of at most {limits.body_bytes:,} bytes, got {size:,} or more; send less at once")


async def _from_json(request: Request, limits: Limits) -> Body:  # noqa: ARG001 - one signature for every decoder
    try:
        table = json.loads(await request.body(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the body cannot be read as JSON: {error}") from None
    if not isinstance(table, dict):
        raise InvalidRequestError(f"expected a JSON object, got {type(table).__name__}")
    support = _each(_EXAMPLES, table.pop("support", []), "support")
    queries = _each(_QUERIES, table.pop("queries", []), "queries")
    return Body(
        [Labelled(example.answer, _raw(example, f"support[{place}]")) for place, example in enumerate(support)],
        [_raw(query, f"queries[{place}]") for place, query in enumerate(queries)],
        tuple(table.items()),
    )


def _each(kind: TypeAdapter[list[EntryT]], entries: object, name: str) -> list[EntryT]:
    try:
        return kind.validate_python(entries)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        place += ".label" if first["type"] == NO_ANSWER else ""
        unlabelled = first["type"] == NO_ANSWER or "label" in first["loc"] or "target" in first["loc"]
        mistake = UnusableSupportError if unlabelled else InvalidRequestError
        raise mistake(f"{place}: {first['msg'].removeprefix('Value error, ')}", field=place) from None


def _raw(query: Query, name: str) -> RawInput:
    return RawInput(name, query.image if query.image is not None else query.vector or ())


async def _from_multipart(request: Request, limits: Limits) -> Body:
    count = limits.examples + limits.queries
    try:
        # One part more than allowed, so that the error below can speak of examples rather than of parts.
        async with request.form(max_files=count + 1, max_fields=count + 100) as form:
            return await _from_form(form)
    except HTTPException as error:
        raise InvalidRequestError(f"the multipart body cannot be read: {error.detail}") from None


async def _from_form(form: FormData) -> Body:
    images = await _uploads(form, "images")
    queries = await _uploads(form, "queries")
    labels = [_label(value, f"labels[{place}]") for place, value in enumerate(form.getlist("labels"))]
    if len(images) != len(labels):
        raise UnusableSupportError(
            f"expected one `labels` field for every `images` file, in the same order; got {len(labels)} labels and {len(images)} images",
            field="labels",
        )
    support = [Labelled(label, raw) for label, raw in zip(labels, images, strict=True)]
    rest = [(name, value) for name, value in form.multi_items() if name not in ("images", "labels", "queries")]
    return Body(support, queries, rest)


async def _uploads(form: FormData, name: str) -> list[RawInput]:
    raws = []
    for place, upload in enumerate(form.getlist(name)):
        if not isinstance(upload, UploadFile):
            raise InvalidRequestError(f"{name}[{place}]: expected a file, got a text field", field=f"{name}[{place}]")
        raws.append(RawInput(f"{name}[{place}] ({upload.filename})" if upload.filename else f"{name}[{place}]", await upload.read()))
    return raws


def _label(value: object, name: str) -> str:
    try:
        return _LABEL.validate_python(value)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        raise UnusableSupportError(f"{name}: expected a label: {message}", field=name) from None


def _once(fields: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Join fields that may be given only once."""
    joined = dict(fields)
    if len(joined) < len(fields):
        name, count = Counter(name for name, _ in fields).most_common(1)[0]
        raise InvalidRequestError(f"expected {name!r} once, got it {count} times", field=name)
    return joined


async def _from_zip(request: Request, limits: Limits) -> Body:
    """Read class folders; beside a `queries` folder they may stand in a `support` folder."""
    content = await request.body()
    files = await run_in_threadpool(lambda: list(read_zip(content, max_bytes=limits.unpacked_bytes)))
    queries = [file for file in files if _is_query(file.path)]
    support = by_class(file for file in files if not _is_query(file.path))
    return Body(
        [Labelled(_label(member.label, str(member.path)), RawInput(str(member.path), member.content)) for member in support],
        [RawInput(str(file.path), file.content) for file in queries],
    )


def _is_query(path: PurePosixPath) -> bool:
    return len(path.parts) < 2 or path.parts[0] == "queries"


DECODERS: Mapping[str, Callable[[Request, Limits], Awaitable[Body]]] = {
    "multipart/form-data": _from_multipart,
    "application/json": _from_json,
    "application/zip": _from_zip,
}
