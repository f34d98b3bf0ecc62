"""The pages for people, the playground and the list of every call: static files of `service/ui` that call the HTTP API like anyone else."""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

FILES = Path(__file__).parents[1] / "ui"

# A package and its folder: FastAPI's own page would load the same files from a CDN.
SWAGGER_UI = ("fastapi_swagger", "resources")

HEADERS = {
    # Nothing is loaded from elsewhere, and no script or style stands in the page itself.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Kept, and asked for again at every visit: a new server never meets an old script.
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


def install_pages(app: FastAPI) -> None:
    """Serve the playground at `/`, every call at `/docs`, and what they load under `/ui` and `/docs/assets`."""
    app.include_router(router)
    app.mount("/ui", _Assets(directory=FILES))
    app.mount("/docs/assets", _Assets(packages=[SWAGGER_UI]))


@router.api_route("/", methods=["GET", "HEAD"])
async def playground() -> FileResponse:
    """Give the playground."""
    return FileResponse(FILES / "index.html", headers=HEADERS)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs() -> FileResponse:
    """Give the list of every call, in Swagger UI."""
    return FileResponse(FILES / "docs.html", headers=HEADERS)


class _Assets(StaticFiles):
    """Static files with the headers of the pages."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response
