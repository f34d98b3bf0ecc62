from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from service.api.app import create_app
from service.config import Settings
from service.learner.encoders.mlp import Mlp
from service.runtime.runtime import Runtime
from service.sessions.hot import HotWeights
from service.sessions.memory import MemoryStore
from tests.tiny import FakeClock, tiny_model, write_tiny

LogEntry = MutableMapping[str, Any]


@pytest.fixture(autouse=True)
def log() -> Iterator[list[LogEntry]]:
    """What the server logs while a test runs."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three meta-models: `tiny` takes images, `vectors` takes three numbers, `damaged` has a flipped byte in its weights."""
    store = tmp_path_factory.mktemp("model_store")
    write_tiny(store, "tiny")
    write_tiny(store, "vectors", tiny_model(Mlp(inputs=3)))
    weights = write_tiny(store, "damaged") / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    return store


@pytest.fixture(scope="session")
def settings(model_store: Path) -> Settings:
    """Limits low enough to be passed by small requests."""
    return Settings(
        model_store=model_store,
        default_model="tiny",
        device="cpu",
        torch_threads=1,
        store="memory",
        max_body_bytes=300_000,
        max_image_pixels=10_000,
        max_examples=40,
        max_queries=30,
        max_classes=12,
    )


@pytest.fixture(scope="session")
def running(settings: Settings) -> Iterator[TestClient]:
    """One application for all tests: its meta-models are loaded once."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def app(running: TestClient) -> FastAPI:
    assert isinstance(running.app, FastAPI)
    return running.app


@contextmanager
def served_by(app: FastAPI, runtime: object) -> Iterator[None]:
    """Put another runtime in the place of the application's own."""
    own, app.state.runtime = app.state.runtime, runtime
    try:
        yield
    finally:
        app.state.runtime = own


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(running: TestClient, app: FastAPI, clock: FakeClock) -> Iterator[TestClient]:
    """The application with no sessions yet, and a clock that the test moves."""
    runtime: Runtime = app.state.runtime
    fresh = Runtime.of(
        runtime.catalog,
        MemoryStore(budget_bytes=2**20, clock=clock),
        HotWeights(budget_bytes=2**20),
        runtime.fitter,
        clock=clock,
        default_ttl_seconds=runtime.sessions.default_ttl_seconds,
    )
    with served_by(app, fresh):
        yield running
