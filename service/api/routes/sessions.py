"""Sessions: adapt, look, list, change, end."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from innerloop import wire
from service.api import answers
from service.api.dependencies import Tenant, TheBody, TheCaller, TheRuntime
from service.api.documentation import ADAPT
from service.errors import InvalidRequestError
from service.runtime.lifecycle import AdaptOptions, Change, KeepOptions
from service.sessions.store import Wanted

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


async def wanted_sessions(
    name: str | None = None,
    model: Annotated[str | None, Query(description="`name` or `name@version`")] = None,
    created_from: Annotated[datetime | None, Query(description="not before this time")] = None,
    created_until: Annotated[datetime | None, Query(description="before this time")] = None,
) -> Wanted:
    """Give which sessions are meant; all of them without a filter."""
    for field, moment in (("created_from", created_from), ("created_until", created_until)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidRequestError(
                f"expected {field} with its time zone, as 2026-01-31T12:00:00Z, got {moment.isoformat()}", field=field
            )
    return Wanted(name, model, created_from, created_until)


TheWanted = Annotated[Wanted, Depends(wanted_sessions)]


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
    keeping = KeepOptions(wanted.name, wanted.ttl_seconds, wanted.keep_support, wanted.from_session)
    made = await runtime.sessions.create(caller, body.support, options, keeping)
    response.headers["Location"] = f"/v1/sessions/{made.session.id}"
    return answers.adapted_session(made, response)


@router.get("")
async def list_sessions(
    tenant: Tenant, runtime: TheRuntime, wanted: TheWanted, after: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> wire.SessionList:
    """List sessions, oldest first; `after` is the `next` of the page before."""
    found = await runtime.store.list(tenant, wanted=wanted, after=after, limit=limit + 1)
    page = found[:limit]
    return wire.SessionList(sessions=tuple(map(answers.session_info, page)), next=page[-1].id if len(found) > limit else None)


@router.delete("")
async def delete_sessions(
    tenant: Tenant,
    runtime: TheRuntime,
    wanted: TheWanted,
    confirm: Annotated[bool, Query(description="must be `true`: every session that is meant ends")] = False,
) -> wire.Deleted:
    """End every session that the filter means, all of yours without one; `confirm=true` says that you mean it."""
    if not confirm:
        raise InvalidRequestError("this ends every session that the filter means; say confirm=true to do it", field="confirm")
    return wire.Deleted(deleted=await runtime.store.delete_all(tenant, wanted))


@router.get("/{session_id}")
async def get_session(session_id: str, tenant: Tenant, runtime: TheRuntime, response: Response) -> wire.SessionInfo:
    """Look at one session."""
    session = await runtime.store.get(tenant, session_id)
    response.headers["ETag"] = answers.etag(session)
    return answers.session_info(session)


@router.patch("/{session_id}")
async def change_session(session_id: str, change: wire.SessionChange, caller: TheCaller, runtime: TheRuntime) -> wire.SessionInfo:
    """Rename, pin, unpin or extend a session; a lifetime counts from now, the server's default after unpinning."""
    wanted = Change(change.name, change.pinned, change.ttl_seconds)
    return answers.session_info(await runtime.sessions.change(caller, session_id, wanted))


@router.delete("/{session_id}", status_code=204)
async def delete_session(session_id: str, tenant: Tenant, runtime: TheRuntime) -> None:
    """End a session; asking for it again answers 410."""
    await runtime.store.delete(tenant, session_id)
