"""Sessions: adapt, look, list, change, end."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from innerloop import wire
from service.api import answers
from service.api.dependencies import Expected, Tenant, TheRuntime, call_of
from service.api.documentation import ADAPT, CALL
from service.errors import InvalidRequestError
from service.runtime.lifecycle import AdaptOptions, Change, KeepOptions
from service.sessions.store import Wanted

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.post("", status_code=201, openapi_extra=ADAPT)
async def create_session(request: Request, response: Response) -> wire.AdaptedSession:
    """Adapt a meta-model to a support set and keep the result as a session."""
    call = await call_of(request)
    body = await call.body()
    if body.queries:
        name = body.queries[0].name
        raise InvalidRequestError(
            f"{name}: expected labelled examples only, in a zip every image in the folder of its class; "
            "queries go to POST /v1/sessions/{id}/predict",
            field=name,
        )
    wanted = body.read(wire.SessionOptions)
    options = AdaptOptions(wanted.model, wanted.steps, wanted.scope)
    keeping = KeepOptions(wanted.name, wanted.ttl_seconds, wanted.keep_support, wanted.from_session)
    made = await call.runtime.sessions.create(call.caller, body.support, options, keeping)
    response.headers["Location"] = f"/v1/sessions/{made.session.id}"
    return answers.adapted_session(made, response)


@router.get("")
async def list_sessions(tenant: Tenant, runtime: TheRuntime, asked: Annotated[wire.SessionPage, Query()]) -> wire.SessionList:
    """List sessions, oldest first; `after` is the `next` of the page before."""
    found = await runtime.store.list(tenant, wanted=_wanted(asked), after=asked.after, limit=asked.limit + 1)
    page = found[: asked.limit]
    return wire.SessionList(sessions=tuple(map(answers.session_info, page)), next=page[-1].id if len(found) > asked.limit else None)


@router.delete("")
async def delete_sessions(tenant: Tenant, runtime: TheRuntime, asked: Annotated[wire.SessionsToDelete, Query()]) -> wire.Deleted:
    """End every session that the filter means, all of yours without one; `confirm=true` says that you mean it."""
    if not asked.confirm:
        raise InvalidRequestError("this ends every session that the filter means; say confirm=true to do it", field="confirm")
    return wire.Deleted(deleted=await runtime.store.delete_all(tenant, _wanted(asked)))


@router.get("/{session_id}")
async def get_session(session_id: str, tenant: Tenant, runtime: TheRuntime, response: Response) -> wire.SessionInfo:
    """Look at one session."""
    session = await runtime.store.get(tenant, session_id)
    response.headers["ETag"] = answers.etag(session)
    return answers.session_info(session)


@router.patch("/{session_id}", openapi_extra=CALL)
async def change_session(
    session_id: str, change: wire.SessionChange, request: Request, expected: Expected, response: Response
) -> wire.SessionInfo:
    """Rename, pin, unpin or extend a session; a lifetime counts from now, the server's default after unpinning."""
    call = await call_of(request)
    wanted = Change(change.name, change.pinned, change.ttl_seconds)
    session = await call.runtime.sessions.change(call.caller, session_id, wanted, expected=expected)
    response.headers["ETag"] = answers.etag(session)
    return answers.session_info(session)


@router.delete("/{session_id}", status_code=204, openapi_extra=CALL)
async def delete_session(session_id: str, request: Request, expected: Expected) -> None:
    """End a session; asking for it again answers 410."""
    call = await call_of(request)
    await call.runtime.sessions.end(call.caller, session_id, expected=expected)


def _wanted(asked: wire.SessionFilter) -> Wanted:
    return Wanted(asked.name, asked.model, asked.created_from, asked.created_until)
