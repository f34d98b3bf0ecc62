"""Sessions as rows of the embedded store: what is read from them."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zlib import crc32

import structlog

from service.errors import ServiceError, SessionDamagedError
from service.sessions.records import load_revision, load_session
from service.sessions.refusals import absent_revision, ended, missing, never_was
from service.sessions.session import Session
from service.sessions.sqlite.schema import FAILURES, primary_code, refusal
from service.sessions.store import REMEMBERED_FOR, REVISIONS_KEPT, Wanted

log = structlog.get_logger()

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

# Bytes of the records of sessions remembered since the last commit, which take several times that; of more, those that came first.
REMEMBERED_BYTES = 8 * 2**20

FIND = "SELECT key, record FROM sessions WHERE tenant = ? AND id = ?"
GONE = "SELECT why, at < ? FROM gone WHERE tenant = ? AND id = ?"
WEIGHTS = """SELECT weights FROM sessions JOIN revisions ON session = sessions.key
  WHERE tenant = ? AND id = ? AND number = ? AND (ends_at IS NULL OR ends_at > ?)"""
SUPPORT = """SELECT examples FROM sessions JOIN support ON session = sessions.key
  WHERE tenant = ? AND id = ? AND (ends_at IS NULL OR ends_at > ?)"""
# The same choice as `Wanted.takes`, made where the sessions are, so that no other is read.
MEANT = """SELECT key, record FROM sessions
  WHERE tenant = :tenant AND id > :after AND (ends_at IS NULL OR ends_at > :now)
    AND (:name IS NULL OR name = :name)
    AND (:model IS NULL OR model = :model OR substr(model, 1, instr(model || '@', '@') - 1) = :model)
    AND (:created_from IS NULL OR created_at >= :created_from)
    AND (:created_until IS NULL OR created_at < :created_until)
  ORDER BY id"""


def micros(moment: datetime) -> int:
    """A moment as the file keeps it: microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def seal(record: bytes) -> bytes:
    """A record behind its checksum: one flipped bit in a label would else be read as another label."""
    return crc32(record).to_bytes(4, "big") + record


def unseal(sealed: object) -> bytes:
    """Give the record.

    Raises:
        SessionDamagedError: it is not what was written.
    """
    if isinstance(sealed, bytes) and crc32(sealed[4:]).to_bytes(4, "big") == sealed[:4]:
        return sealed[4:]
    raise _damaged()


class Rows:
    """What one connection reads; to be used by one thread at a time."""

    def __init__(self, db: sqlite3.Connection, *, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock

    def check(self) -> None:
        """Look into the file; raises StoreUnavailableError when that fails."""
        try:
            self._db.execute("SELECT key FROM sessions LIMIT 1").fetchone()
        except FAILURES as error:
            raise refusal(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def find(self, tenant: str, session_id: str) -> Session:
        """Give a session; raises as `SessionStore.get` does."""
        return self._row(tenant, session_id)[1]

    def at(self, tenant: str, session_id: str, number: int) -> Session:
        """Give a session as it was; raises as `SessionStore.at` does."""
        key, session = self._row(tenant, session_id)
        if number == session.revision.number:
            return session
        if not 1 <= number < session.revision.number:
            raise absent_revision(session, number)
        row = self._one("SELECT record FROM earlier WHERE session = ? AND number = ?", key, number)
        if row is None:
            raise absent_revision(session, number)
        return replace(session, revision=load_revision(unseal(row[0])))

    def weights(self, session: Session) -> bytes:
        """Give the weights of the session's revision; raises as `SessionStore.weights` does."""
        number = session.revision.number
        row = self._one(WEIGHTS, session.tenant, session.id, number, micros(self._clock()))
        if row is not None and isinstance(row[0], bytes):
            return row[0]
        kept = self.find(session.tenant, session.id)
        raise missing(kept, "weights") if 0 <= kept.revision.number - number < REVISIONS_KEPT else absent_revision(kept, number)

    def support(self, session: Session) -> bytes:
        """Give the support set; raises as `SessionStore.support` does."""
        row = self._one(SUPPORT, session.tenant, session.id, micros(self._clock()))
        if row is not None and isinstance(row[0], bytes):
            return row[0]
        raise missing(self.find(session.tenant, session.id), "examples")

    def page(self, tenant: str, wanted: Wanted, *, after: str | None, limit: int) -> Sequence[Session]:
        """Give the first sessions that are meant, in the order of their ids; one whose record is damaged is left out."""
        try:
            # Closed, else the read goes on, and the log cannot be emptied.
            with closing(self._db.execute(MEANT, meaning(tenant, wanted, after=after, now=self._clock()))) as rows:
                return list(islice(_readable(rows, tenant), limit))
        except FAILURES as error:
            raise refusal(error) from error

    def _row(self, tenant: str, session_id: str) -> tuple[int, Session]:
        return self._sized_row(tenant, session_id)[:2]

    def _sized_row(self, tenant: str, session_id: str) -> tuple[int, Session, int]:
        """Give a session's key, itself, and how many bytes its record has."""
        row = self._one(FIND, tenant, session_id)
        if row is None:
            raise self._absent(tenant, session_id)
        session = load_session(unseal(row[1]))
        if (session.tenant, session.id) != (tenant, session_id):  # a damaged index may lead to another's
            raise _damaged()
        if session.has_expired(self._clock()):
            raise self._expired(session_id, session.expires_at)
        return row[0], session, len(row[1])

    def _absent(self, tenant: str, session_id: str) -> ServiceError:
        row = self._one(GONE, micros(self._clock() - REMEMBERED_FOR), tenant, session_id)
        return never_was(session_id) if row is None or row[1] else ended(session_id, str(row[0]))

    def _expired(self, session_id: str, at: datetime) -> ServiceError:
        return never_was(session_id) if self._clock() - at > REMEMBERED_FOR else ended(session_id, "has expired")

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._db.execute(statement, values).fetchone()
        except FAILURES as error:
            raise _unreadable(error) from error
        return row


class RememberedRows(Rows):
    """Rows whose sessions, once found, are remembered until something is committed.

    Args:
        state: gives the state that the file is in, see `Commits`.
    """

    def __init__(self, db: sqlite3.Connection, *, clock: Callable[[], datetime], state: Callable[[], bytes]) -> None:
        super().__init__(db, clock=clock)
        self._state = state
        self._found_in = b""
        self._found: dict[tuple[str, str], Session] = {}
        self._room = REMEMBERED_BYTES

    def close(self) -> None:
        self._state = bytes  # a closed file is in no state in which anything was found
        super().close()

    def find(self, tenant: str, session_id: str) -> Session:
        if self._found_in != (now := self._state()):
            self._found, self._found_in, self._room = {}, now, REMEMBERED_BYTES
        found = self._found.get((tenant, session_id))
        if found is not None and not found.has_expired(self._clock()):
            return found
        _, session, size = self._sized_row(tenant, session_id)
        if size <= self._room:
            self._found[tenant, session_id] = session
            self._room -= size
        return session


def _unreadable(error: Exception) -> ServiceError:
    if primary_code(error) == sqlite3.SQLITE_CORRUPT:
        return SessionDamagedError("the store's file is damaged where this session is kept; adapt again with POST /v1/sessions")
    return refusal(error)


def _readable(rows: Iterable[tuple[int, object]], tenant: str) -> Iterator[Session]:
    for key, record in rows:
        try:
            session = load_session(unseal(record))
        except SessionDamagedError:
            log.warning("session_damaged", key=key)
            continue
        if session.tenant == tenant:
            yield session


def _damaged() -> SessionDamagedError:
    return SessionDamagedError("the store's record of this session is damaged; adapt again with POST /v1/sessions")


def meaning(tenant: str, wanted: Wanted, *, after: str | None, now: datetime) -> Mapping[str, object]:
    """What MEANT is asked with."""
    return {
        "tenant": tenant,
        "after": after or "",
        "now": micros(now),
        "name": wanted.name,
        "model": wanted.model,
        "created_from": None if wanted.created_from is None else micros(wanted.created_from),
        "created_until": None if wanted.created_until is None else micros(wanted.created_until),
    }
