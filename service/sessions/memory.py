"""Sessions in this process's memory: gone when it ends, bounded in bytes."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush

from service.errors import SessionGoneError, SessionNotFoundError, TooLargeError
from service.sessions.session import Session

REMEMBERED_FOR = timedelta(days=7)
REMEMBERED_COUNT = 100_000


@dataclass(frozen=True, slots=True)
class _Gone:
    tenant: str
    why: str
    at: datetime


class MemoryStore:
    """A session store without a file. It is used from one thread, the event loop's, so it needs no lock.

    Over its budget it drops the sessions used longest ago. What is gone is remembered for a week, so that a caller
    hears why; at most REMEMBERED_COUNT of them.
    """

    def __init__(self, *, budget_bytes: int, clock: Callable[[], datetime]) -> None:
        self._budget_bytes = budget_bytes
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        # When each session expires, soonest first; one that is gone before is passed over.
        self._expiries: list[tuple[datetime, str]] = []
        self._gone: OrderedDict[str, _Gone] = OrderedDict()
        self._bytes = 0

    async def create(self, session: Session) -> None:
        size = session.revision.size_bytes
        if size > self._budget_bytes:
            raise TooLargeError(f"expected a session of at most {self._budget_bytes:,} bytes, got {size:,}; use fewer classes")
        self._drop_expired()
        while self._bytes + size > self._budget_bytes:
            self._drop(next(iter(self._sessions)), "was evicted to make room")
        self._sessions[session.id] = session
        self._note_expiry(session)
        self._bytes += size

    async def get(self, tenant: str, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is not None and session.expires_at <= self._clock():
            self._drop(session_id, "has expired")
            session = None
        if session is None or session.tenant != tenant:
            raise self._absent(tenant, session_id)
        self._sessions.move_to_end(session_id)
        return session

    async def list(self, tenant: str, *, after: str | None, limit: int) -> Sequence[Session]:
        self._drop_expired()
        ids = sorted(key for key, session in self._sessions.items() if session.tenant == tenant and (after is None or key > after))
        return [self._sessions[key] for key in ids[:limit]]

    async def delete(self, tenant: str, session_id: str) -> None:
        await self.get(tenant, session_id)
        self._drop(session_id, "was deleted")

    def _note_expiry(self, session: Session) -> None:
        heappush(self._expiries, (session.expires_at, session.id))
        if len(self._expiries) > 2 * len(self._sessions) + 1024:  # most of them are of sessions that ended before
            self._expiries = [(each.expires_at, each.id) for each in self._sessions.values()]
            heapify(self._expiries)

    def _drop_expired(self) -> None:
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            _, key = heappop(self._expiries)
            if key in self._sessions:
                self._drop(key, "has expired")

    def _drop(self, session_id: str, why: str) -> None:
        session = self._sessions.pop(session_id)
        self._bytes -= session.revision.size_bytes
        self._gone[session_id] = _Gone(session.tenant, why, min(self._clock(), session.expires_at))
        while len(self._gone) > REMEMBERED_COUNT:
            self._gone.popitem(last=False)

    def _absent(self, tenant: str, session_id: str) -> SessionNotFoundError | SessionGoneError:
        gone = self._gone.get(session_id)
        if gone is None or gone.tenant != tenant or self._clock() - gone.at > REMEMBERED_FOR:
            return SessionNotFoundError(f"no session {session_id!r}; GET /v1/sessions lists yours")
        return SessionGoneError(f"session {session_id!r} {gone.why}; adapt again with POST /v1/sessions")
