import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Message

from service.runtime.runtime import Runtime
from service.runtime.worker import DeviceWorker
from tests.api.conftest import LogEntry, served_by
from tests.api.forms import ANSWERS, ASK, BOTH, LEARN, as_json
from tests.runtime.tasks import GatedEngine


@contextmanager
def occupied(app: FastAPI) -> Iterator[GatedEngine]:
    """An application whose device computes only when its gate is opened."""
    engine, runtime = GatedEngine(torch.device("cpu")), app.state.runtime
    assert isinstance(runtime, Runtime)
    with DeviceWorker(engine, queue_items=1000) as worker, served_by(app, replace(runtime, fitter=replace(runtime.fitter, worker=worker))):
        yield engine
        engine.gate.set()


def test_a_request_whose_time_is_over_is_told_so(client: TestClient, app: FastAPI) -> None:
    with occupied(app):
        response = client.post("/v1/predict", **as_json(BOTH), headers={"Request-Timeout-Ms": "30"})
    assert response.status_code == 504
    assert response.json()["code"] == "deadline"
    assert "Request-Timeout-Ms" in response.json()["detail"]


def test_a_request_with_time_enough_is_answered(client: TestClient) -> None:
    response = client.post("/v1/predict", **as_json(BOTH), headers={"Request-Timeout-Ms": "60000"})
    assert [one["label"] for one in response.json()["predictions"]] == ANSWERS


@pytest.mark.parametrize("given", ["0", "-5", "soon", "nan", "inf", ""])
def test_a_time_that_cannot_be_is_refused(client: TestClient, given: str) -> None:
    response = client.post("/v1/sessions", **as_json(LEARN), headers={"Request-Timeout-Ms": given})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert response.json()["detail"].startswith("Request-Timeout-Ms: ")
    assert response.json()["field"] == "Request-Timeout-Ms"


def test_the_work_of_a_caller_who_hangs_up_costs_no_device_time(client: TestClient, app: FastAPI, log: list[LogEntry]) -> None:
    """Two wait behind what is computing; one hangs up, and only the other is computed."""
    session = client.post("/v1/sessions", **as_json(LEARN)).json()["session"]
    path, body = f"/v1/sessions/{session}/predict", json.dumps(as_json(ASK)["json"]).encode()

    async def call(hang_up: asyncio.Event) -> list[Message]:
        """Send the request as a server would, and say that the caller is gone once the event is set."""
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await hang_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
        await app({**scope, "headers": headers, "scheme": "http", "server": ("test", 80), "client": ("test", 1)}, receive, send)
        return sent

    async def scenario(engine: GatedEngine) -> list[list[Message]]:
        never, now = asyncio.Event(), asyncio.Event()
        computing = asyncio.ensure_future(call(never))
        await asyncio.to_thread(engine.entered.wait, 30)
        waiting, leaving = asyncio.ensure_future(call(never)), asyncio.ensure_future(call(now))
        await asyncio.sleep(0.05)
        now.set()
        gone = await leaving
        engine.gate.set()
        return [await computing, await waiting, gone]

    with occupied(app) as engine:
        answers = asyncio.run(scenario(engine))
    assert [answer[0]["status"] for answer in answers] == [200, 200, 499]
    assert engine.batches == [1, 1]
    assert [entry["status"] for entry in log if entry["event"] == "request"][-3:].count(499) == 1
