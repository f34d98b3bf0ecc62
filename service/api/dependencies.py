"""What routes are given: the runtime, the tenant, the call with its body."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import ClientDisconnect

from service.api.bodies import Body, read_body
from service.errors import InvalidRequestError
from service.runtime.caller import Caller
from service.runtime.runtime import Runtime


async def runtime_of(request: Request) -> Runtime:
    """Give the runtime that the application was started with."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def tenant_of(request: Request) -> str:  # noqa: ARG001 - an API key in it will decide
    """Give the tenant that a request belongs to; there is one until there are API keys."""
    return "default"


Tenant = Annotated[str, Depends(tenant_of)]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as routes take it apart: the runtime that answers, who asks, and the body for those who want it."""

    request: Request
    runtime: Runtime
    caller: Caller

    async def body(self) -> Body:
        """Decode the body; raises what `read_body` does."""
        return await read_body(self.request, self.runtime.fitter.limits)


class CallHeaders(BaseModel):
    """What a caller may say beside the body."""

    request_timeout_ms: float | None = Field(
        None,
        alias="Request-Timeout-Ms",
        gt=0,
        allow_inf_nan=False,
        description="milliseconds after which nobody waits for the answer any more",
    )
    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="names a request that makes something, so that sending it again does it once",
    )


_HEADERS = [str(field.alias) for field in CallHeaders.model_fields.values()]
_NO_HEADERS = CallHeaders()


async def call_of(request: Request) -> Call:
    """Give the request with its runtime, and with who asks and how long they wait.

    Routes call it, and `documentation.CALL` describes the headers it reads: as dependencies of FastAPI, the parts of a call took a third
    of what a prediction costs the event loop.

    Raises:
        RequestValidationError: a header cannot have this value.
    """
    said = _said(request)
    arrived: float = request.scope["arrived"]
    deadline = None if said.request_timeout_ms is None else arrived + said.request_timeout_ms / 1000

    async def still_there() -> None:
        if await request.is_disconnected():
            raise ClientDisconnect

    caller = Caller(await tenant_of(request), deadline, still_there, said.idempotency_key)
    return Call(request, await runtime_of(request), caller)


def _said(request: Request) -> CallHeaders:
    given = {name: request.headers[name] for name in _HEADERS if name in request.headers}
    try:
        return CallHeaders.model_validate(given) if given else _NO_HEADERS
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


TheRuntime = Annotated[Runtime, Depends(runtime_of)]


async def expected_revision(
    if_match: Annotated[str | None, Header(description='the revision that must be the newest, `"3"`')] = None,
) -> int | None:
    """Give the revision that a change expects to be the newest; None takes any."""
    if if_match is None or if_match.strip() == "*":
        return None
    number = if_match.strip().removeprefix("W/").strip('"')
    if not re.fullmatch("[0-9]{1,9}", number):
        raise InvalidRequestError(f'expected If-Match to be a revision as ETag gave it, `"3"`, or `*`, got {if_match!r}', field="If-Match")
    return int(number)


Expected = Annotated[int | None, Depends(expected_revision)]
