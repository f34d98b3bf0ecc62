"""One process that serves: uvicorn, as we run it."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

import uvicorn
from fastapi import FastAPI

from service.cli.greeting import greet, greeting
from service.cli.listening import Address, bound
from service.config import Settings

# New objects between two looks for garbage: a request makes many, of which nothing is left.
COLLECT_EVERY = 10_000


class Server(uvicorn.Server):
    """Uvicorn, which says when it is ready and falls unready before it stops listening.

    Args:
        app: what answers.
        settings: where and for how long.
        shared: addresses to listen on beside other processes, which must have bound them as this does; the settings' alone otherwise.
        say: is given the greeting when the server is ready.
    """

    def __init__(self, app: FastAPI, settings: Settings, *, shared: Sequence[Address] = (), say: Callable[[str], None] = greet) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=settings.shutdown_seconds,
                lifespan="off",  # `serve` does it
            )
        )
        self._app = app
        self._settings = settings
        self._shared = shared
        self._say = say

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # Uvicorn ends by raising the signal that stopped it once more; a stop that was asked for is no failure.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        super().run(sockets)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        with ExitStack() as closed:
            taken = sockets or await bound(self._shared or [(self._settings.host, self._settings.port)], shared=bool(self._shared))
            for each in taken:
                closed.enter_context(closing(each))
            # Not left to uvicorn, which would log what keeps the application from starting as a failure of its own.
            async with self._app.router.lifespan_context(self._app):
                await super().serve(taken)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        _settle()
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._say(greeting(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", self._app))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.ready = False
        await asyncio.sleep(self._settings.drain_seconds)
        await super().shutdown(sockets)


def _settle() -> None:
    """Keep what a start made out of every later search for garbage: a quarter of a million objects, which stay to the end."""
    gc.collect()
    gc.freeze()
    gc.collect()  # which learns that nothing old is left: until a quarter as much has come, it would not look at what is old
    gc.set_threshold(COLLECT_EVERY)
