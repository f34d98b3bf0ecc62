"""Sessions that leave and come back: the adapted weights as a file, and a new session from such a file."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from innerloop import wire
from service.api import answers
from service.api.bodies import FILE, read_file
from service.api.dependencies import call_of
from service.api.documentation import CALL, IMPORT, WEIGHTS
from service.runtime.exporting import Format
from service.runtime.lifecycle import KeepOptions

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.get("/{session_id}/weights", response_class=Response, responses=WEIGHTS, openapi_extra=CALL)
async def get_weights(
    session_id: str,
    request: Request,
    revision: Annotated[int | None, Query(description="of the session; its newest when absent. The last ten are kept")] = None,
    kind: Annotated[
        Format, Query(alias="format", description="safetensors can be taken back by POST /v1/sessions/import; onnx answers alone")
    ] = "safetensors",
) -> Response:
    """Give a session's adapted weights as a file: safetensors, or an ONNX model of `inputs` to `probabilities`."""
    call = await call_of(request)
    exported = await call.runtime.exporter.give(call.caller, session_id, kind, revision=revision)
    headers = {"Content-Disposition": f'attachment; filename="{exported.name}"', "ETag": f'"{exported.weights_digest}"'}
    return Response(exported.content, media_type=FILE, headers=headers)


@router.post("/import", status_code=201, openapi_extra=IMPORT)
async def import_session(options: Annotated[wire.ImportOptions, Query()], request: Request, response: Response) -> wire.AdaptedSession:
    """Make a new session from exported weights; it predicts as that one did, and cannot grow: its support set was not exported."""
    call = await call_of(request)
    content = await read_file(call.request, call.runtime.fitter.limits)
    keeping = KeepOptions(options.name, options.ttl_seconds, support=False)
    made = await call.runtime.exporter.take(call.caller, content, keeping)
    response.headers["Location"] = f"/v1/sessions/{made.session.id}"
    return answers.adapted_session(made, response)
