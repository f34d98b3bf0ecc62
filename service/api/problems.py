"""The one place that maps errors to HTTP: problem+json as RFC 9457 has it."""

import json
from collections.abc import Mapping

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from innerloop.wire import Problem
from service import errors
from service.api.trace import trace_id

log = structlog.get_logger()

STATUSES: Mapping[type[errors.ServiceError], int] = {
    errors.InvalidRequestError: 422,
    errors.UnusableSupportError: 422,
    errors.NotAnImageError: 415,
    errors.BrokenImageError: 422,
    errors.BlankImageError: 422,
    errors.BrokenArchiveError: 422,
    errors.UnusableVectorError: 422,
    errors.UnusableExportError: 422,
    errors.WrongInputKindError: 422,
    errors.StepsOutOfRangeError: 422,
    errors.ScopeNotOfferedError: 422,
    errors.AdaptationDivergedError: 422,
    errors.TooLargeError: 413,
    errors.UnsupportedMediaTypeError: 415,
    errors.ModelNotFoundError: 404,
    errors.ModelRefusedError: 503,
    errors.SessionNotFoundError: 404,
    errors.SessionGoneError: 410,
    errors.SessionDamagedError: 410,
    errors.RevisionNotFoundError: 404,
    errors.RevisionGoneError: 410,
    errors.RevisionChangedError: 412,
    errors.SupportNotKeptError: 409,
    errors.ExampleNotFoundError: 404,
    errors.IdempotencyKeyBusyError: 409,
    errors.IdempotencyKeyReusedError: 422,
    errors.StoreFullError: 507,
    errors.StoreUnavailableError: 503,
    errors.ModelChangedError: 409,
    errors.QueueFullError: 429,
    errors.DrainingError: 503,
    errors.DeadlineError: 504,
    errors.DeviceMemoryError: 503,
    errors.ExportUnavailableError: 501,
}

# Those that say when to try again.
PASSING = (errors.QueueFullError, errors.StoreUnavailableError, errors.IdempotencyKeyBusyError)

# The Open Inference Protocol has a form of its own for errors.
PROTOCOL = "/v2"

# What the framework answers before a route is reached.
FRAMEWORK_CODES: Mapping[int, str] = {404: "route_not_found", 405: "method_not_allowed", 413: "too_large"}

TITLES: Mapping[int, str] = {
    400: "Malformed request",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    412: "Changed meanwhile",
    413: "Too large",
    415: "Unsupported media type",
    422: "Cannot be used",
    429: "Too many requests",
    500: "Internal error",
    501: "Not offered here",
    503: "Unavailable",
    504: "Too late",
    507: "No room left",
}


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""
    app.add_exception_handler(errors.ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(ClientDisconnect, _hung_up)
    app.add_exception_handler(Exception, _unexpected)


async def _service_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, errors.ServiceError) or type(error) not in STATUSES:
        return await _unexpected(request, error)
    headers = {"Retry-After": f"{error.retry_after_seconds:.0f}"} if isinstance(error, PASSING) else {}
    return _problem(request, STATUSES[type(error)], error.code, error.message, field=error.field, headers=headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """Name every mistake of a body or query string, and the first one's place."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    places = [".".join(str(part) for part in each["loc"] if part not in ("body", "query", "path")) for each in found]
    detail = "; ".join(f"{place or 'body'}: {each['msg']}" for place, each in zip(places, found, strict=True))
    return _problem(request, 422, errors.InvalidRequestError.code, detail, field=next(iter(places), None) or None)


async def _framework_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = FRAMEWORK_CODES.get(status, errors.InvalidRequestError.code)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    detail = f"{request.method} {request.url.path}: {getattr(error, 'detail', error)}; /docs lists every call"
    return _problem(request, status, code, detail, headers=headers)


async def _hung_up(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the signature of a handler
    """Nobody reads this answer; the log does, and 499 is what proxies call it."""
    return Response(status_code=499)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, trace_id=trace_id(request), exc_info=error)
    return _problem(request, 500, "internal_error", "something broke on the server; its log has this trace_id")


def _problem(
    request: Request, status: int, code: str, detail: str, *, field: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    if request.url.path == PROTOCOL or request.url.path.startswith(f"{PROTOCOL}/"):
        return _protocol_error(request, status, detail, headers=headers)
    problem = Problem(
        type=f"urn:innerloop:problem:{code}",
        title=TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        code=code,
        trace_id=trace_id(request),
        field=field,
    )
    # Half a character, as JSON can name a field with, leaves as it came: \ud800.
    content = json.dumps(problem.model_dump(exclude_none=True), ensure_ascii=False).encode(errors="backslashreplace")
    # Here as well as in the middleware: the answer to an unexpected error is sent from outside it.
    named = {**(headers or {}), "X-Request-ID": problem.trace_id}
    return Response(content, status, headers=named, media_type="application/problem+json")


def _protocol_error(request: Request, status: int, detail: str, *, headers: Mapping[str, str] | None) -> Response:
    content = json.dumps({"error": detail}, ensure_ascii=False).encode(errors="backslashreplace")
    return Response(content, status, headers={**(headers or {}), "X-Request-ID": trace_id(request)}, media_type="application/json")
