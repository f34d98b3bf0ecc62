"""Sessions: adapt, look, list, end."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from innerloop import wire
from service.api import answers
from service.api.dependencies import Tenant, TheBody, TheCaller, TheRuntime
from service.api.documentation import ADAPT
from service.errors import InvalidRequestError
from service.runtime.runtime import AdaptOptions

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.post("", status_code=201, openapi_extra=ADAPT)
async def create_session(body: TheBody, caller: TheCaller, runtime: TheRuntime, response: Response) -> wire.AdaptedSession:
    """Adapt a meta-model to a support set and keep the result as a session."""
    if body.queries:
        name = body.queries[0].name
        raise InvalidRequestError(
            f"{name}: expected labelled examples only, in a zip every image in the folder of its class; "
            "queries go to POST /v1/sessions/{id}/predict",
            field=name,
        )
    wanted = body.read(wire.SessionOptions)
    options = AdaptOptions(wanted.model, wanted.steps, wanted.scope)
    session, spent = await runtime.create_session(caller, body.support, options, name=wanted.name, ttl_seconds=wanted.ttl_seconds)
    response.headers["Location"] = f"/v1/sessions/{session.id}"
    return answers.adapted_session(session, spent)


@router.get("")
async def list_sessions(
    tenant: Tenant, runtime: TheRuntime, after: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> wire.SessionList:
    """List sessions, oldest first; `after` is the `next` of the page before."""
    found = await runtime.store.list(tenant, after=after, limit=limit + 1)
    page = found[:limit]
    return wire.SessionList(sessions=tuple(map(answers.session_info, page)), next=page[-1].id if len(found) > limit else None)


@router.get("/{session_id}")
async def get_session(session_id: str, tenant: Tenant, runtime: TheRuntime) -> wire.SessionInfo:
    """Look at one session."""
    return answers.session_info(await runtime.store.get(tenant, session_id))


@router.delete("/{session_id}", status_code=204)
async def delete_session(session_id: str, tenant: Tenant, runtime: TheRuntime) -> None:
    """End a session; asking for it again answers 410."""
    await runtime.store.delete(tenant, session_id)
