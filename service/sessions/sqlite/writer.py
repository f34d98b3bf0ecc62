"""The one thread that writes the embedded store: it commits everything that waits at once, so that many share one disk flush."""

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import structlog

from service.errors import StoreUnavailableError
from service.sessions.sqlite.changes import Changes
from service.sessions.sqlite.schema import FAILURES, PAGE_BYTES, primary_code, refusal, transaction

log = structlog.get_logger()

T = TypeVar("T")

# A commit is not shared by more: the first to come waits for the last.
GROUP = 256
SWEEP_EVERY = timedelta(seconds=5)
# Over the quota, for what makes room: even deleting first writes down that something was deleted.
SPARE_PAGES = 256


@dataclass(frozen=True, slots=True)
class Job:
    """Something to write, and who waits for it; `spare` when it may use the spare pages of a full store."""

    work: Callable[[Changes], Any]
    future: Future[Any]
    spare: bool


class Writer:
    """Runs jobs on a thread of its own. A job's future is done when the job is durable, or has left nothing behind."""

    def __init__(self, db: sqlite3.Connection, *, clock: Callable[[], datetime], quota_bytes: int) -> None:
        self._db = db
        self._clock = clock
        self._pages = max(1, quota_bytes // PAGE_BYTES)
        self._limited_to = 0
        self._changes = Changes(db, clock=clock)
        self._waiting: SimpleQueue[Job | None] = SimpleQueue()
        self._closed = False
        self._next_sweep = clock()
        self._thread = Thread(target=self._run, name="session-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def submit(self, work: Callable[[Changes], T], *, spare: bool = False) -> Future[T]:
        """Have something written; it may be run again after it was rolled back. To be called from one thread, as `close_soon` is.

        Raises:
            StoreUnavailableError: the store is closed.
        """
        self.check()
        future: Future[T] = Future()
        self._waiting.put(Job(work, future, spare))
        return future

    def check(self) -> None:
        """Raise StoreUnavailableError when nothing can be written any more."""
        if self._closed:
            raise StoreUnavailableError("the session store is closed; this server is stopping")

    def close_soon(self) -> None:
        """Take nothing more; what waits is still written."""
        self._closed = True
        self._waiting.put(None)

    def join(self) -> None:
        """Wait until everything is written and the connection closed."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while not (self._closed and self._waiting.empty()):
                self._settle(self._next_group())
                self._sweep_if_due()
        finally:
            self._closed = True
            self._db.close()

    def _next_group(self) -> Sequence[Job]:
        """Wait for a job and take those behind it, without those whose callers are gone; nothing when it is time to sweep."""
        taken: list[Job | None] = []
        with suppress(Empty):
            taken.append(self._waiting.get(timeout=0 if self._sweep_is_due() else SWEEP_EVERY.total_seconds()))
            while len(taken) < GROUP:
                taken.append(self._waiting.get_nowait())
        return [job for job in taken if job is not None and job.future.set_running_or_notify_cancel()]

    def _settle(self, jobs: Sequence[Job]) -> None:
        for tell in self._outcomes(jobs) if jobs else ():
            tell()

    def _outcomes(self, jobs: Sequence[Job]) -> Sequence[Callable[[], None]]:
        """Run jobs in one transaction. When that fails each has its own, so that only the guilty fail."""
        try:
            return self._together(jobs)
        except Exception as error:
            if len(jobs) > 1 and primary_code(error) != sqlite3.SQLITE_BUSY:  # the next would wait for the other process as long again
                return [tell for job in jobs for tell in self._outcomes([job])]
            return [partial(job.future.set_exception, refusal(error) if isinstance(error, FAILURES) else error) for job in jobs]

    def _together(self, jobs: Sequence[Job]) -> Sequence[Callable[[], None]]:
        with transaction(self._db, "IMMEDIATE"):
            return [self._attempt(job) for job in jobs]

    def _attempt(self, job: Job) -> Callable[[], None]:
        """Run a job; what it raises undoes its own work only, unless it is SQLite that fails."""
        self._limit(self._pages + (SPARE_PAGES if job.spare else 0))
        self._db.execute("SAVEPOINT job")
        try:
            tell = partial(job.future.set_result, job.work(self._changes))
        except FAILURES:
            raise
        except Exception as error:
            self._db.execute("ROLLBACK TO job")
            tell = partial(job.future.set_exception, error)
        self._db.execute("RELEASE job")
        return tell

    def _limit(self, pages: int) -> None:
        if pages != self._limited_to:
            self._db.execute(f"PRAGMA max_page_count = {pages}").fetchone()
            self._limited_to = pages

    def _sweep_is_due(self) -> bool:
        return self._clock() >= self._next_sweep

    def _sweep_if_due(self) -> None:
        if not self._sweep_is_due():
            return
        sweep = Job(Changes.sweep, Future(), spare=True)
        self._settle([sweep])
        error = sweep.future.exception()
        more = error is None and sweep.future.result()
        self._next_sweep = self._clock() + (timedelta() if more else SWEEP_EVERY)
        if error is not None:
            log.error("session_sweep_failed", error=str(error))
