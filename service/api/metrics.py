"""What `GET /metrics` shows beside what the tiers count: requests, and how things stand."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

from service.runtime.runtime import Runtime

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Set where several processes serve: each writes its metrics there, and any of them shows the sum.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MEASURED_EVERY_SECONDS = 1.0

REQUESTS = Histogram(
    "innerloop_request_duration_seconds",
    "From a request's head to the end of its answer; the count is that of requests",
    ["method", "route", "status"],
    buckets=BUCKETS,
)
READY = Gauge("innerloop_ready_workers", "Processes that are ready", multiprocess_mode="livesum")
WAITING = Gauge("innerloop_waiting_items", "Inputs between their admission and their answer", multiprocess_mode="livesum")
HOT = Gauge("innerloop_hot_weights_bytes", "Adapted weights held in memory", multiprocess_mode="livesum")


def count_request(scope: Scope, *, status: int, seconds: float) -> None:
    """Count a request that has ended, by its route's template, never by its path: of those there is no end."""
    route, method = scope.get("route"), scope["method"]
    _requests(method if method in METHODS else "other", "none" if route is None else route.path, status).observe(seconds)


@cache
def _requests(method: str, route: str, status: int) -> Histogram:
    return REQUESTS.labels(method, route, str(status))


def exposition(app: FastAPI) -> bytes:
    """Give all metrics in Prometheus' text format, of every process that serves."""
    _measure(app)
    if FOLDER not in os.environ:
        return generate_latest(REGISTRY)
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together)


@asynccontextmanager
async def measured(app: FastAPI) -> AsyncIterator[None]:
    """Keep this process's gauges fresh, also for those that other processes show."""
    task = asyncio.create_task(_keep_measuring(app))
    try:
        yield
    finally:
        task.cancel()


async def _keep_measuring(app: FastAPI) -> None:
    while True:
        _measure(app)
        await asyncio.sleep(MEASURED_EVERY_SECONDS)


def _measure(app: FastAPI) -> None:
    runtime: Runtime = app.state.runtime
    READY.set(app.state.ready)
    WAITING.set(runtime.fitter.worker.waiting_items)
    HOT.set(runtime.hot.size_bytes)
