"""Health and information, for machines that watch over this one."""

from importlib.metadata import version

from fastapi import APIRouter, Request

from innerloop import wire
from service.api.dependencies import TheRuntime
from service.errors import DrainingError

router = APIRouter(tags=["operations"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """Say whether requests are welcome: models are loaded, and the server is not stopping."""
    if not request.app.state.ready:
        raise DrainingError("the server is stopping and takes no new work")
    return {"status": "ready"}


@router.get("/v1/info")
async def info(request: Request, runtime: TheRuntime) -> wire.ServerInfo:
    """Tell version, device and limits; clients chunk by them."""
    limits = runtime.limits
    return wire.ServerInfo(
        version=version("innerloop"),
        device=str(request.app.state.device),
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
