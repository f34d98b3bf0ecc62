"""Health and information, for machines that watch over this one."""

from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from innerloop import wire
from service.api.dependencies import TheRuntime
from service.api.metrics import exposition
from service.errors import DrainingError

router = APIRouter(tags=["operations"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(request: Request, runtime: TheRuntime) -> dict[str, str]:
    """Say whether requests are welcome: models are loaded, the session store is there, and the server is not stopping."""
    if not request.app.state.ready:
        raise DrainingError("the server is stopping and takes no new work")
    await runtime.store.check()
    return {"status": "ready"}


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """Show counts, durations and how things stand, of all workers together, for Prometheus."""
    return Response(exposition(request.app), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/info")
async def info(request: Request, runtime: TheRuntime) -> wire.ServerInfo:
    """Tell version, device and limits; clients chunk by them."""
    limits = runtime.fitter.limits
    return wire.ServerInfo(
        version=version("innerloop"),
        device=str(request.app.state.device),
        store=request.app.state.store_kind,
        default_model=runtime.catalog.default,
        limits=wire.Limits(
            body_bytes=limits.body_bytes,
            image_pixels=limits.image_pixels,
            examples=limits.examples,
            queries=limits.queries,
            classes=limits.classes,
            ttl_seconds=limits.ttl_seconds,
        ),
    )
