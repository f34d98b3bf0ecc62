"""The embedded session store: one SQLite file, nothing to install. What it acknowledged outlives any crash of the process."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Self, TypeVar

from service.errors import TooLargeError
from service.sessions.session import Revision, Session
from service.sessions.sqlite.changes import ENDED_AT_ONCE, Changes
from service.sessions.sqlite.commits import Commits
from service.sessions.sqlite.rows import RememberedRows, Rows
from service.sessions.sqlite.schema import open_reader, open_writer
from service.sessions.sqlite.writer import Writer
from service.sessions.store import ANY, Claim, Contents, Current, Reply, Wanted

T = TypeVar("T")


class SqliteStore:
    """A session store in one file, which several processes of this machine may have open at once.

    Records are looked up on the event loop's own thread: from the page cache that takes less time than asking another thread. Those
    looked up already are remembered until any process commits something, as many as 8 MiB of records; so a process may have a file open
    in one store only (see `Commits`).
    Weights, support sets and lists are read on a second thread, and all writing is done by a third.
    """

    def __init__(self, path: Path, *, clock: Callable[[], datetime], quota_bytes: int, alone: bool = False) -> None:
        """Raises SessionStoreError on entering, when the file cannot be used.

        Args:
            path: of the file; made when it is not there, in a folder that is.
            clock: gives now, with its time zone.
            quota_bytes: what the file may grow to; the log beside it is not counted.
            alone: no other process has the file open, so that what was under way when it was opened last is so no more.
        """
        self._path = path
        self._clock = clock
        self._quota_bytes = quota_bytes
        self._alone = alone
        self._writer: Writer
        self._commits: Commits
        self._records: RememberedRows
        self._contents: Rows
        self._reading: ThreadPoolExecutor

    async def __aenter__(self) -> Self:
        with ExitStack() as opened:
            db = opened.enter_context(closing(await asyncio.to_thread(open_writer, self._path)))
            records = opened.enter_context(closing(open_reader(self._path)))
            contents = opened.enter_context(closing(open_reader(self._path)))
            self._commits = Commits(records)
            opened.pop_all()
        self._writer = Writer(db, clock=self._clock, quota_bytes=self._quota_bytes)
        self._records = RememberedRows(records, clock=self._clock, state=self._commits.state)
        self._contents = Rows(contents, clock=self._clock)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="session-reader")
        self._writer.start()
        if self._alone:
            await self._write(Changes.give_up_claims, spare=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._reading.shutdown)
        self._records.close()
        self._contents.close()
        # Last: only the last connection to close can empty the log into the file, and those may not write.
        self._writer.close_soon()
        await asyncio.to_thread(self._writer.join)
        self._commits.close()

    async def check(self) -> None:
        self._writer.check()
        await self._read(Rows.check)

    async def create(self, session: Session, contents: Contents, *, reply: Reply | None = None) -> None:
        self._check_size(contents)
        await self._write(lambda rows: rows.create(session, contents, reply=reply))

    async def get(self, tenant: str, session_id: str) -> Session:
        return self._records.find(tenant, session_id)

    async def current(self, tenant: str, session_id: str) -> Current:
        return Current(self._records.find(tenant, session_id))

    async def at(self, tenant: str, session_id: str, number: int) -> Session:
        return self._records.at(tenant, session_id, number)

    async def weights(self, session: Session) -> bytes:
        return await self._read(lambda rows: rows.weights(session))

    async def support(self, session: Session) -> bytes:
        return await self._read(lambda rows: rows.support(session))

    async def append(self, session: Session, revision: Revision, contents: Contents, *, reply: Reply | None = None) -> Session:
        self._check_size(contents)
        return await self._write(lambda rows: rows.append(session, revision, contents, reply=reply))

    async def update(self, tenant: str, session_id: str, change: Callable[[Session], Session]) -> Session:
        return await self._write(lambda rows: rows.update(tenant, session_id, change), spare=True)

    async def list(self, tenant: str, *, wanted: Wanted = ANY, after: str | None, limit: int) -> Sequence[Session]:
        return await self._read(lambda rows: rows.page(tenant, wanted, after=after, limit=limit))

    async def delete(self, tenant: str, session_id: str) -> None:
        await self._write(lambda rows: rows.delete(tenant, session_id), spare=True)

    async def delete_all(self, tenant: str, wanted: Wanted) -> int:
        ended = 0
        while True:
            some = await self._write(lambda rows: rows.delete_some(tenant, wanted), spare=True)
            ended += some
            if some < ENDED_AT_ONCE:
                return ended

    async def claim(self, claim: Claim) -> bytes | None:
        return await self._write(lambda rows: rows.claim(claim))

    async def release(self, claim: Claim) -> None:
        await self._write(lambda rows: rows.release(claim), spare=True)

    async def _write(self, work: Callable[[Changes], T], *, spare: bool = False) -> T:
        return await asyncio.wrap_future(self._writer.submit(work, spare=spare))

    async def _read(self, work: Callable[[Rows], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, self._contents)

    def _check_size(self, contents: Contents) -> None:
        size = len(contents.weights) + len(contents.support or b"")
        if size > self._quota_bytes:
            raise TooLargeError(f"expected at most {self._quota_bytes:,} bytes of weights and examples, got {size:,}; use fewer of them")
