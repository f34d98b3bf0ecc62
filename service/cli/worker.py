"""One of several processes that serve one address, from its start to its end."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from threading import Thread

from service.cli.listening import Address
from service.cli.logs import configure_logs
from service.cli.server import Server
from service.cli.workers import Refused, Started
from service.config import Settings
from service.errors import ServiceError, WorkersError


def work(settings: Settings, addresses: Sequence[Address], number: int, telling: Connection) -> None:
    """Serve until told to stop, and tell what became of the start: Started, or Refused with the reason."""
    # Not at the top: the process that starts workers imports this module too, and does without PyTorch's 300 MB.
    from service.api.app import create_app
    from service.runtime.device import choose_device

    configure_logs(settings.log_format, worker=number)
    end_with_parent()
    try:
        refuse_cuda(str(choose_device(settings.device)), workers=settings.workers)
        # Counted from the parent's id: workers side by side choose different cores, and so do servers.
        app = create_app(settings, place=os.getppid() + number)
        Server(app, settings, shared=addresses, say=lambda greeting: telling.send(Started(greeting))).run()
    except ServiceError as error:
        telling.send(Refused(error.message))
        sys.exit(1)


def refuse_cuda(device: str, *, workers: int) -> None:
    """Raise WorkersError for a CUDA device: one process owns it."""
    if device.startswith("cuda"):
        raise WorkersError(f"expected one worker on {device}, which one process owns, got {workers}; use --workers 1 or --device cpu")


def end_with_parent() -> None:
    """Have this process told to end when its parent is gone: one that was killed cannot say so, and the address would stay taken."""
    Thread(target=_wait_for_parent, name="parent", daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
