"""X-Request-ID in and out, and one log line and one count a request."""

import random
import re
import time

import structlog
from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.metrics import count_request

log = structlog.get_logger()

ACCEPTED = re.compile(r"[\w.:-]{1,128}")
QUIET = ("/livez", "/readyz", "/metrics")

# No secret, so it needs no system call, in which the interpreter lock would change hands.
_NAMES = random.Random()  # noqa: S311 - see above


def trace_id(request: Request) -> str:
    """Give the id of this request: the caller's own, or ours."""
    return str(request.scope.get("trace_id", "unknown"))


class TraceMiddleware:
    """Names every request, notes when it came, tells the caller the name, logs how it ended and counts it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["trace_id"], scope["arrived"] = _named(scope), time.monotonic()
        began, status = time.perf_counter(), 500  # unless the application answers

        async def traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = scope["trace_id"]
            await send(message)

        try:
            await self._app(scope, receive, traced)
        finally:
            seconds = time.perf_counter() - began
            count_request(scope, status=status, seconds=seconds)
            if scope["path"] not in QUIET:
                spent = round(1000 * seconds, 2)
                log.info(
                    "request", method=scope["method"], path=scope["path"], status=status, milliseconds=spent, trace_id=scope["trace_id"]
                )


def _named(scope: Scope) -> str:
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    return given if ACCEPTED.fullmatch(given) else f"req_{_NAMES.getrandbits(64):016x}"
