"""The server that a good user of FastAPI writes in a page: it adapts per request and keeps a dict of adapted heads.

Usage: python -m benchmarks.peers.plain_fastapi MODEL MODEL_STORE PORT [--threads 1] [--handlers def] [--device cpu]
`def` handlers run in Starlette's thread pool; `async` ones on the event loop, one at a time.
"""

import secrets
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
import typer
import uvicorn
from fastapi import FastAPI
from pydantic import Base64Bytes, BaseModel

from benchmarks.peers.request_loop import Learned, RequestLoop
from benchmarks.peers.tasks import worded


class Handlers(StrEnum):
    """How the handlers are declared."""

    DEF = "def"
    ASYNC = "async"


class Query(BaseModel):
    """One image to classify."""

    image: Base64Bytes


class Example(Query):
    """One labelled image."""

    label: str


class CreateSession(BaseModel):
    """Body of `POST /sessions`."""

    model: str
    support: list[Example]


class Predict(BaseModel):
    """Body of `POST /sessions/{id}/predict`."""

    queries: list[Query]
    top_k: int = 1


def create_app(loop: RequestLoop, handlers: Handlers) -> FastAPI:
    """Build the application."""
    app, sessions = FastAPI(), dict[str, Learned]()

    def create(body: CreateSession) -> dict[str, str]:
        task = loop.reader.task([each.image for each in body.support], [each.label for each in body.support])
        session = secrets.token_hex(8)
        sessions[session] = loop.adapt(task)
        return {"session": session}

    def predict(session: str, body: Predict) -> dict[str, Any]:
        learned = sessions[session]
        (shares,) = loop.predict([learned], [loop.reader.images([each.image for each in body.queries])])
        return worded(learned.labels, shares)

    async def create_on_the_loop(body: CreateSession) -> dict[str, str]:
        return create(body)

    async def predict_on_the_loop(session: str, body: Predict) -> dict[str, Any]:
        return predict(session, body)

    pooled = handlers is Handlers.DEF
    app.post("/sessions", status_code=201)(create if pooled else create_on_the_loop)
    app.post("/sessions/{session}/predict")(predict if pooled else predict_on_the_loop)
    app.get("/health")(lambda: {"status": "ready"})
    return app


def main(model: str, model_store: Path, port: int, threads: int = 1, handlers: Handlers = Handlers.DEF, device: str = "cpu") -> None:
    """Serve on the loopback address."""
    torch.set_num_threads(threads)
    uvicorn.run(
        create_app(RequestLoop.of(model_store, model, torch.device(device)), handlers), host="127.0.0.1", port=port, log_level="warning"
    )


if __name__ == "__main__":
    typer.run(main)
