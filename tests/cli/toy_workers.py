"""Workers that serve nothing: what a process does that is started, told to end, or killed."""

import json
import os
import signal
import sys
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from service.cli.worker import end_with_parent
from service.cli.workers import Refused, Started, Workers


def serving(folder: Path, number: int, telling: Connection) -> None:
    """Leave a note, be ready, and end when told to."""
    signal.signal(signal.SIGTERM, lambda *_: _end(folder))
    _note(folder, number)
    telling.send(Started(f"hello from {number}"))
    _wait()


def deaf(folder: Path, number: int, telling: Connection) -> None:
    """Not end when told to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _note(folder, number)
    telling.send(Started("hello"))
    _wait()


def refusing(folder: Path, number: int, telling: Connection) -> None:
    """The second cannot start."""
    if number == 0:
        serving(folder, number, telling)
    _note(folder, number)
    telling.send(Refused("no room for a second"))
    sys.exit(1)


def breaking(folder: Path, number: int, telling: Connection) -> None:
    """The second ends without a word."""
    if number == 0:
        serving(folder, number, telling)
    _note(folder, number)
    sys.exit(7)


def dying_young(young: int, folder: Path, number: int, telling: Connection) -> None:
    """Serve, but for so many that are started after the first two: they are killed before they are ready."""
    before = len([path for path in folder.iterdir() if path.name.isdigit()])
    if before < 2 or before >= 2 + young:
        serving(folder, number, telling)
    _note(folder, number)
    os.kill(os.getpid(), signal.SIGKILL)


def orphaned(folder: Path, number: int, telling: Connection) -> None:
    """End with the process that started it."""
    _note(folder, number)
    end_with_parent()
    telling.send(Started("hello"))
    _wait()


def run(folder: Path) -> None:
    """Run two workers in a process of its own, which says when they are ready."""
    Workers(2, partial(orphaned, folder), metrics=folder / "metrics", say=lambda _: (folder / "ready").touch()).run()


def _note(folder: Path, number: int) -> None:
    known = {
        "number": number,
        "deaf to Ctrl+C": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "metrics": os.environ["PROMETHEUS_MULTIPROC_DIR"],
    }
    (folder / str(os.getpid())).write_text(json.dumps(known))


def _wait() -> NoReturn:
    while True:
        signal.pause()


def _end(folder: Path) -> NoReturn:
    (folder / f"{os.getpid()}.ended").touch()
    sys.exit(0)
