"""Several processes that serve one address, and the one that starts, replaces and ends them."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import structlog
from prometheus_client.multiprocess import mark_process_dead

from service.errors import WorkersError

log = structlog.get_logger()

# What a worker does: it is given its number, and where to tell that it has started.
Work = Callable[[int, Connection], None]

SPAWN = multiprocessing.get_context("spawn")  # torch does not survive a fork
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
TICK_SECONDS = 0.1
# Replacements that may end in a row before they are ready, killed for memory say; more would only do so again.
LOST_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Started:
    """A worker serves, and what to say when all do."""

    greeting: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker cannot start, and why."""

    reason: str


@dataclass(slots=True)
class _Worker:
    number: int
    process: SpawnProcess
    ready: bool = False


class Workers:
    """Runs workers until it is told to stop by SIGTERM or SIGINT, and starts another in the place of one that dies.

    Args:
        count: how many.
        work: what each does.
        metrics: a folder for what they count; emptied now, as one that was killed has left it, and gone afterwards.
        say: is given the greeting, once, when all are ready.
    """

    def __init__(self, count: int, work: Work, *, metrics: Path, say: Callable[[str], None]) -> None:
        self._count = count
        self._work = work
        self._metrics = metrics
        self._say = say
        # By the pipe that each tells through: it ends when the worker does, however it does.
        self._running: dict[Connection, _Worker] = {}
        self._told: list[int] = []
        self._ending = self._greeted = False
        self._lost = 0
        self._failure: str | None = None

    def run(self) -> None:
        """Return when all have ended as they were told to.

        Raises:
            WorkersError: one could not start, with its reason; the others have ended too.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda told, _: self._told.append(told))
        with _metrics_in(self._metrics):
            try:
                self._run()
            finally:
                self._kill()
        if self._failure is not None:
            raise WorkersError(self._failure)

    def _run(self) -> None:
        resource_tracker.ensure_running()  # which would make this thread hear SIGINT again while the first worker starts
        for number in range(self._count):
            self._start(number)
        while self._running:
            news = wait(list(self._running), TICK_SECONDS)
            self._obey()  # first: a signal to all of a group may have ended a worker already
            for hearing in news:
                self._listen(hearing)  # type: ignore[arg-type] # `wait` takes other things too

    def _start(self, number: int) -> None:
        hearing, telling = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=self._work, args=(number, telling), name=f"worker {number}", daemon=True)
        # Ctrl+C reaches every process of a terminal. Workers leave it to this one to say when they end.
        with _blocked(signal.SIGINT):
            process.start()
        telling.close()
        self._running[hearing] = _Worker(number, process)

    def _obey(self) -> None:
        while self._told:
            if self._told.pop(0) == signal.SIGINT and self._ending:
                self._kill()
            self._end()

    def _listen(self, hearing: Connection) -> None:
        try:
            said = hearing.recv()
        except (EOFError, OSError):
            self._bury(hearing)
            return
        if isinstance(said, Refused):
            self._fail(said.reason)
            return
        worker = self._running[hearing]
        worker.ready, self._lost = True, 0
        log.info("worker ready", worker=worker.number, process=worker.process.pid)
        if not (self._greeted or self._ending) and all(worker.ready for worker in self._running.values()):
            self._greeted = True
            self._say(said.greeting)

    def _bury(self, hearing: Connection) -> None:
        """Put another in the place of a worker that has ended; one of the first that never served would only do so again."""
        worker = self._running.pop(hearing)
        hearing.close()
        worker.process.join()
        mark_process_dead(worker.process.pid, self._metrics)  # type: ignore[no-untyped-call]
        if self._ending:
            return
        number, status = worker.number, worker.process.exitcode
        self._lost += not worker.ready
        if worker.ready or (self._greeted and self._lost <= LOST_IN_A_ROW):
            log.warning("worker ended", worker=number, process=worker.process.pid, status=status, ready=worker.ready)
            self._start(number)
        else:
            self._fail(f"worker {number} ended with status {status} before it was ready; the log may say why")

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._end()

    def _end(self) -> None:
        self._ending = True
        for worker in self._running.values():
            worker.process.terminate()

    def _kill(self) -> None:
        for worker in self._running.values():
            worker.process.kill()


@contextmanager
def _metrics_in(folder: Path) -> Iterator[None]:
    """Have the processes that are started meanwhile count in a folder, so that each can tell what all did."""
    before = os.environ.get(METRICS_FOLDER)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[METRICS_FOLDER] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(METRICS_FOLDER)
        os.environ.update({} if before is None else {METRICS_FOLDER: before})
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """Hold a signal back; a process that is started meanwhile never hears it, this one does afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
