"""Every session store, behind one face without `await`, and sessions to put into them."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from service.sessions.memory import MemoryStore
from service.sessions.redis.redis_store import RedisStore
from service.sessions.session import Revision, Session, new_session_id
from service.sessions.sqlite.sqlite_store import SqliteStore
from service.sessions.store import ANY, Claim, Contents, Current, Reply, SessionStore, Wanted
from tests.sessions.redis_process import shared_redis
from tests.tiny import FakeClock

T = TypeVar("T")


class Blocking:
    """A store whose calls return when they are done, all on one event loop. Close it."""

    def __init__(self, store: SessionStore) -> None:
        self.inner = store
        self._loop = asyncio.Runner()
        try:
            self._run(store.__aenter__())
        except BaseException:
            self._loop.close()
            raise

    def create(self, session: Session, contents: Contents | None = None, *, reply: Reply | None = None) -> None:
        self._run(self.inner.create(session, contents or contents_of(session), reply=reply))

    def get(self, tenant: str, session_id: str) -> Session:
        return self._run(self.inner.get(tenant, session_id))

    def current(self, tenant: str, session_id: str) -> Current:
        return self._run(self.inner.current(tenant, session_id))

    def at(self, tenant: str, session_id: str, number: int) -> Session:
        return self._run(self.inner.at(tenant, session_id, number))

    def weights(self, session: Session) -> bytes:
        return self._run(self.inner.weights(session))

    def support(self, session: Session) -> bytes:
        return self._run(self.inner.support(session))

    def append(self, session: Session, revision: Revision, contents: Contents, *, reply: Reply | None = None) -> Session:
        return self._run(self.inner.append(session, revision, contents, reply=reply))

    def update(self, tenant: str, session_id: str, change: Callable[[Session], Session]) -> Session:
        return self._run(self.inner.update(tenant, session_id, change))

    def list(self, tenant: str, *, wanted: Wanted = ANY, after: str | None = None, limit: int = 100) -> Sequence[Session]:
        return self._run(self.inner.list(tenant, wanted=wanted, after=after, limit=limit))

    def delete(self, tenant: str, session_id: str) -> None:
        self._run(self.inner.delete(tenant, session_id))

    def delete_all(self, tenant: str, wanted: Wanted = ANY) -> int:
        return self._run(self.inner.delete_all(tenant, wanted))

    def claim(self, claim: Claim) -> bytes | None:
        return self._run(self.inner.claim(claim))

    def release(self, claim: Claim) -> None:
        self._run(self.inner.release(claim))

    def reopen(self) -> None:
        """Close the store and open it again, as a server does that is started anew."""
        self._run(self.inner.__aexit__(None, None, None))
        self._run(self.inner.__aenter__())

    def close(self) -> None:
        self._run(self.inner.__aexit__(None, None, None))
        self._loop.close()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(call)


@contextmanager
def _memory(clock: FakeClock) -> Iterator[SessionStore]:
    yield MemoryStore(budget_bytes=10**9, clock=clock)


@contextmanager
def _sqlite(clock: FakeClock) -> Iterator[SessionStore]:
    with TemporaryDirectory() as folder:
        yield SqliteStore(Path(folder) / "sessions.sqlite3", clock=clock, quota_bytes=10**9)


@contextmanager
def _redis(clock: FakeClock) -> Iterator[SessionStore]:
    yield RedisStore(shared_redis().url, clock=clock, stale_seconds=60, prefix=secrets.token_hex(8))


# Makes a store, empty and large enough, that reads this clock; on leaving, what it stood on is cleared away.
STORES: Mapping[str, Callable[[FakeClock], AbstractContextManager[SessionStore]]] = {
    "memory": _memory,
    "redis": _redis,
    "sqlite": _sqlite,
}


def session(clock: FakeClock, *, tenant: str = "ann", lives: timedelta = timedelta(hours=1), seed: int = 0) -> Session:
    """A session made now; a seed decides what is in it."""
    return Session(
        id=new_session_id(clock()),
        tenant=tenant,
        name=None if seed % 2 else f"session {seed}",
        model="tiny@1",
        weights_sha256="0" * 64,
        revision=revision(clock, seed=seed),
        created_at=clock(),
        expires_at=clock() + lives,
    )


def revision(clock: FakeClock, *, number: int = 1, seed: int = 0) -> Revision:
    """A revision made now, of the weights that `weights_of` gives."""
    return Revision(
        number=number,
        weights_digest=hashlib.sha256(weights_of(number, seed)).hexdigest(),
        labels=("bird", "cat", "été"),
        shots=(1, 2, 3),
        scope="head",
        steps=2,
        losses=(1.5, 0.5, 0.1 + 0.2),
        leave_one_out_accuracy=None if seed % 2 else 0.75,
        created_at=clock(),
        reach=None if seed % 3 else 612.5 + number,
        length=None if seed % 2 else 4,
    )


def grown(kept: Session, clock: FakeClock, *, seed: int = 0) -> Revision:
    """The revision that comes next."""
    return revision(clock, number=kept.revision.number + 1, seed=seed)


def contents_of(kept: Session, *, seed: int = 0) -> Contents:
    """Bytes of a session's newest revision; every byte value is in them."""
    return Contents(weights_of(kept.revision.number, seed), b"support " + weights_of(kept.revision.number, seed))


def weights_of(number: int, seed: int = 0) -> bytes:
    return bytes((seed + number + step) % 256 for step in range(300))


def renamed(name: str) -> Callable[[Session], Session]:
    return lambda kept: replace(kept, name=name)


def pinned(kept: Session) -> Session:
    return replace(kept, pinned=True)
