"""What routes are given: the runtime, the tenant, the decoded body."""

import re
from typing import Annotated

from fastapi import Depends, Header, Request
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


async def caller_of(
    request: Request,
    tenant: Tenant,
    request_timeout_ms: Annotated[
        float | None, Header(gt=0, allow_inf_nan=False, description="milliseconds after which nobody waits for the answer any more")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="names a request that makes something, so that sending it again does it once"),
    ] = None,
) -> Caller:
    """Give who asks, and how long they wait."""
    arrived: float = request.scope["arrived"]
    deadline = None if request_timeout_ms is None else arrived + request_timeout_ms / 1000

    async def still_there() -> None:
        if await request.is_disconnected():
            raise ClientDisconnect

    return Caller(tenant, deadline, still_there, idempotency_key)


TheRuntime = Annotated[Runtime, Depends(runtime_of)]
TheCaller = Annotated[Caller, Depends(caller_of)]


async def body_of(request: Request, runtime: TheRuntime) -> Body:
    """Decode the body of a request."""
    return await read_body(request, runtime.fitter.limits)


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
TheBody = Annotated[Body, Depends(body_of)]
