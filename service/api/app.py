"""The one wiring file: settings in, an application out."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version

import torch
from fastapi import FastAPI

from service.api.documentation import PROBLEM
from service.api.metrics import measured
from service.api.pages import install_pages
from service.api.problems import install_problem_handlers
from service.api.routes import examples, export, health, inference, models, predictions, sessions
from service.api.trace import TraceMiddleware
from service.config import Settings
from service.runtime.batching import Policy
from service.runtime.catalog import load_catalog
from service.runtime.cores import UNPINNED, Cores, choose_cores, pin_this_thread
from service.runtime.decoding import DecodePool
from service.runtime.device import claim_device
from service.runtime.engine import Engine
from service.runtime.fitting import Fitter
from service.runtime.limits import Limits
from service.runtime.runtime import Runtime
from service.runtime.warm_up import warm_up
from service.runtime.worker import DeviceWorker
from service.sessions.hot import HotWeights
from service.sessions.memory import MemoryStore
from service.sessions.redis.redis_store import RedisStore
from service.sessions.sqlite.sqlite_store import SqliteStore
from service.sessions.store import SessionStore


def create_app(settings: Settings, *, place: int | None = None) -> FastAPI:
    """Claim the device, load the meta-models and build the application around them; threads start with its lifespan.

    Args:
        settings: read once.
        place: which of several servers side by side this is, see `choose_cores`.

    Raises:
        DeviceError: the device is not there.
    """
    device = claim_device(settings.device, threads=settings.torch_threads)
    decoding, cores = DecodePool(), _cores(settings, device, place)
    fitter = Fitter(_worker(settings, device, coming=decoding.busy, cores=cores), decoding, _limits(settings))
    runtime = Runtime.of(
        load_catalog(settings.model_store, device=device, default=settings.default_model),
        store_of(settings),
        HotWeights(budget_bytes=settings.host_bytes),
        fitter,
        clock=_now,
        default_ttl_seconds=settings.session_ttl_seconds,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pin_this_thread(cores.loop)
        with fitter.decoding, fitter.worker:
            async with runtime.store, measured(app):
                for served in runtime.catalog.served:
                    await warm_up(served, fitter.worker)
                app.state.ready = True
                yield
                app.state.ready = False

    app = FastAPI(
        title="Innerloop",
        summary="Few-shot adaptation as a service",
        version=version("innerloop"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={"default": PROBLEM},
    )
    app.state.runtime, app.state.device, app.state.ready = runtime, device, False
    app.state.store_kind = settings.store.partition(":")[0]
    app.add_middleware(TraceMiddleware)
    install_problem_handlers(app)
    # Tried in this order: those that are asked most come first.
    for routes in (predictions, sessions, examples, export, models, inference, health):
        app.include_router(routes.router)
    install_pages(app)
    return app


def store_of(settings: Settings) -> SessionStore:
    """Give the session store that the settings mean, not yet open."""
    if settings.store == "memory":
        return MemoryStore(budget_bytes=settings.host_bytes, clock=_now)
    if settings.store == "sqlite":
        return SqliteStore(
            settings.data_dir / "sessions.sqlite3", clock=_now, quota_bytes=settings.store_bytes, alone=settings.workers == 1
        )
    return RedisStore(settings.store, clock=_now, stale_seconds=settings.stale_seconds)


def _cores(settings: Settings, device: torch.device, place: int | None) -> Cores:
    if device.type != "cpu":
        return UNPINNED
    return choose_cores(settings.pin_cores, torch_threads=torch.get_num_threads(), place=place)


def _worker(settings: Settings, device: torch.device, *, coming: Callable[[], bool], cores: Cores) -> DeviceWorker:
    engine = Engine(device, arena_bytes=settings.arena_bytes)
    policy = Policy(wait_seconds=settings.batch_wait_ms / 1000)
    return DeviceWorker(engine, queue_items=settings.queue_items, policy=policy, coming=coming, cores=cores.device)


def _limits(settings: Settings) -> Limits:
    return Limits(
        body_bytes=settings.max_body_bytes,
        image_pixels=settings.max_image_pixels,
        examples=settings.max_examples,
        queries=settings.max_queries,
        classes=settings.max_classes,
    )


def _now() -> datetime:
    return datetime.now(UTC)
