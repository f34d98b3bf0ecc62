"""The support set of a session: look, add, remove."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from innerloop import wire
from service.api import answers
from service.api.dependencies import Expected, Tenant, TheRuntime, call_of
from service.api.documentation import CALL, GROW
from service.errors import InvalidRequestError

router = APIRouter(prefix="/v1/sessions/{session_id}/examples", tags=["sessions"])


@router.get("")
async def list_examples(
    session_id: str, tenant: Tenant, runtime: TheRuntime, after: int = 0, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000
) -> wire.ExampleList:
    """List the examples that the newest revision was fitted to, by id; `after` is the `next` of the page before."""
    session = await runtime.store.get(tenant, session_id)
    return answers.example_list(session, await runtime.sessions.support(session), after=after, limit=limit)


@router.post("", openapi_extra=GROW)
async def add_examples(session_id: str, request: Request, expected: Expected, response: Response) -> wire.AdaptedSession:
    """Add examples, of new classes too; the next revision is fitted to the whole support set from the meta-initialisation."""
    call = await call_of(request)
    body = await call.body()
    if body.queries:
        name = body.queries[0].name
        raise InvalidRequestError(f"{name}: expected labelled examples only", field=name)
    body.read(wire.GrowOptions)
    return answers.adapted_session(await call.runtime.sessions.grow(call.caller, session_id, body.support, expected=expected), response)


@router.delete("", openapi_extra=CALL)
async def remove_examples(
    session_id: str,
    ids: Annotated[list[int], Query(alias="id", min_length=1, description="of the examples to remove")],
    request: Request,
    expected: Expected,
    response: Response,
) -> wire.AdaptedSession:
    """Remove examples; the next revision is fitted to those that stay."""
    call = await call_of(request)
    return answers.adapted_session(await call.runtime.sessions.shrink(call.caller, session_id, ids, expected=expected), response)
