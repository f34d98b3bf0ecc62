"""`innerloop serve`: the server, until it is told to stop."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from service.cli.greeting import greet
from service.cli.listening import reserved
from service.cli.logs import configure_logs
from service.cli.server import Server
from service.cli.settings import settings_of
from service.cli.terminal import plain_errors
from service.cli.worker import refuse_cuda, work
from service.cli.workers import Workers
from service.config import Settings
from service.errors import ModelStoreError, WorkersError
from service.runtime.cores import threads_of_each
from service.runtime.data_dir import exclusive


@plain_errors
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one (default: 8000).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for the server's own files (default: data).")] = None,
    model_store: Annotated[Path | None, typer.Option(help="Folder of meta-models (default: model_store).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda:N (default: auto).")] = None,
    store: Annotated[str | None, typer.Option(help="Where sessions are kept: sqlite, memory or redis://… (default: sqlite).")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve, on a CPU (default: 1).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Log JSON where a person is looking too.")] = False,
) -> None:
    """Serve the meta-models of a model store over HTTP. Every option is also INNERLOOP_<OPTION>, as are further settings."""
    settings = settings_of(
        host=host,
        port=port,
        data_dir=data_dir,
        model_store=model_store,
        device=device,
        store=store,
        workers=workers,
        log_format="json" if as_json else None,
    )
    if not settings.model_store.is_dir():
        raise ModelStoreError(f"{settings.model_store}: expected a model store, found no folder there; name it with --model-store")
    if settings.workers > 1:
        _refuse_what_workers_cannot_share(settings)
    configure_logs(settings.log_format)
    with exclusive(settings.data_dir):
        if settings.workers > 1:
            _run_workers(settings)
        else:
            _run_alone(settings)


def _run_alone(settings: Settings) -> None:
    # Not at the top: with workers, this process does without PyTorch's 300 MB.
    from service.api.app import create_app

    Server(create_app(settings), settings).run()


def _refuse_what_workers_cannot_share(settings: Settings) -> None:
    if settings.store == "memory":
        raise WorkersError(
            f"{settings.workers} workers need a session store that they share, and memory is each one's own; "
            "use --store sqlite, a Redis URL, or --workers 1"
        )
    refuse_cuda(settings.device, workers=settings.workers)  # what `auto` comes to each worker finds, before it claims anything


def _run_workers(settings: Settings) -> None:
    own = settings.model_copy(update={"torch_threads": settings.torch_threads or threads_of_each(settings.workers)})
    with reserved((settings.host, settings.port)) as addresses:
        Workers(settings.workers, partial(work, own, addresses), metrics=settings.data_dir / "metrics", say=greet).run()
