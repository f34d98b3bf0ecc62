"""What routes are given: the runtime, the tenant, the decoded body."""

from typing import Annotated

from fastapi import Depends, Request

from service.api.bodies import Body, read_body
from service.runtime.runtime import Runtime


def runtime_of(request: Request) -> Runtime:
    """Give the runtime that the application was started with."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def tenant_of(request: Request) -> str:  # noqa: ARG001 - an API key in it will decide
    """Give the tenant that a request belongs to; there is one until there are API keys."""
    return "default"


TheRuntime = Annotated[Runtime, Depends(runtime_of)]
Tenant = Annotated[str, Depends(tenant_of)]


async def body_of(request: Request, runtime: TheRuntime) -> Body:
    """Decode the body of a request."""
    return await read_body(request, runtime.limits)


TheBody = Annotated[Body, Depends(body_of)]
