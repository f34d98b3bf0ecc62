"""`innerloop serve`: the server, until it is told to stop."""

import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from rich.console import Console
from structlog.typing import Processor

from service.api.app import create_app
from service.cli.terminal import plain_errors
from service.config import Settings
from service.errors import AddressError, BadConfigError, ModelStoreError
from service.runtime.data_dir import exclusive

EXAMPLES = Path("examples/characters")


@plain_errors
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8000]")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for the server's own files. [default: data]")] = None,
    model_store: Annotated[Path | None, typer.Option(help="Folder of meta-models. [default: model_store]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda:N. [default: auto]")] = None,
) -> None:
    """Serve the meta-models of a model store over HTTP. Every option is also INNERLOOP_<OPTION>, as are further settings."""
    settings = _settings(host=host, port=port, data_dir=data_dir, model_store=model_store, device=device)
    if not settings.model_store.is_dir():
        raise ModelStoreError(f"{settings.model_store}: expected a model store, found no folder there; name it with --model-store")
    _configure_logs()
    with exclusive(settings.data_dir):
        Server(create_app(settings), settings).run()


class Server(uvicorn.Server):
    """Uvicorn, which says when it is ready and falls unready before it stops listening."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=settings.shutdown_seconds,
            )
        )
        self._app = app
        self._settings = settings

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # Uvicorn ends by raising the signal that stopped it once more; a stop that was asked for is no failure.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        super().run(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets or await self._bound())
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        _greet(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", self._app)

    async def _bound(self) -> list[socket.socket]:
        """Take the address as uvicorn would, which says in its own log when it cannot."""
        host, port = self._settings.host, self._settings.port
        try:
            server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
        except OSError as error:
            reason = (error.strerror or str(error)).rpartition(": ")[2]
            raise AddressError(f"cannot listen on {host} port {port} ({reason}); give another with --host or --port") from error
        sockets = [each.dup() for each in server.sockets]
        server.close()
        return sockets

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.ready = False
        await asyncio.sleep(self._settings.drain_seconds)
        await super().shutdown(sockets)


def _settings(**given: Any) -> Settings:
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
        raise BadConfigError("; ".join(mistakes)) from None


def _configure_logs() -> None:
    """One JSON object a line on stderr, or colours when a person is looking."""
    first: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso")]
    last: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if sys.stderr.isatty():
        last = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    structlog.configure(processors=[*first, *last], logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    # What libraries log takes the same form.
    handler = logging.StreamHandler(sys.stderr)
    clean = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[clean, *last], foreign_pre_chain=first))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _greet(url: str, app: FastAPI) -> None:
    """Say where the server is and how to try it."""
    catalog = app.state.runtime.catalog
    served = ", ".join(each.reference for each in catalog.served) or "no meta-model"
    lines = [f"Innerloop serves {served} on {app.state.device} at {url} ({url}/docs describes every call)"]
    if catalog.default == "omniglot" and EXAMPLES.is_dir():
        names = sorted(folder.name for folder in (EXAMPLES / "support").iterdir())
        examples = [f"  -F labels={name} -F images=@{EXAMPLES}/support/{name}/1.png" for name in names]
        queries = [f"  -F queries=@{EXAMPLES}/queries/{name}-1.png" for name in names[:2]]
        lines += ["Try it:", "", " \\\n".join([f"curl -s {url}/v1/predict", *examples, *queries]), ""]
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
