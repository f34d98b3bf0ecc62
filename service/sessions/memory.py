"""Sessions in this process's memory: gone when it ends, bounded in bytes."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Self

from service.errors import SessionGoneError, SessionNotFoundError, StoreFullError, TooLargeError
from service.sessions.counters import count_ended
from service.sessions.refusals import absent_revision, changed, ended, missing, never_was, reply_to
from service.sessions.session import Revision, Session
from service.sessions.store import (
    ANY,
    CLAIMED_FOR,
    REMEMBERED_FOR,
    REPLIES_KEPT_FOR,
    REVISIONS_KEPT,
    Claim,
    Contents,
    Current,
    Reply,
    Wanted,
)

REMEMBERED_COUNT = 100_000
# What a session costs beside its bytes: records, labels, losses and the dictionary entries around them.
OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class _Kept:
    """A session, its revisions by number, and their weights."""

    session: Session
    revisions: dict[int, tuple[Revision, bytes]]
    support: bytes | None

    @property
    def size(self) -> int:
        weights = sum(len(packed) for _, packed in self.revisions.values())
        return OVERHEAD_BYTES + weights + len(self.support or b"") + sum(map(len, self.session.revision.labels))


@dataclass(frozen=True, slots=True)
class _Gone:
    tenant: str
    why: str
    at: datetime


@dataclass(frozen=True, slots=True)
class _Claimed:
    claim: Claim
    until: datetime
    body: bytes | None


class MemoryStore:
    """A session store without a file. It is used from one thread, the event loop's, so it needs no lock.

    Over its budget it drops the sessions used longest ago, pinned ones never. What is gone is remembered for a week, so that a
    caller hears why; at most REMEMBERED_COUNT of them.
    """

    def __init__(self, *, budget_bytes: int, clock: Callable[[], datetime]) -> None:
        self._budget_bytes = budget_bytes
        self._clock = clock
        self._sessions: OrderedDict[str, _Kept] = OrderedDict()
        # When each session expires, soonest first; one that is gone before, or lives longer, is passed over.
        self._expiries: list[tuple[datetime, str]] = []
        self._gone: OrderedDict[str, _Gone] = OrderedDict()
        self._claims: OrderedDict[tuple[str, str], _Claimed] = OrderedDict()
        self._bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Forget nothing: the process does."""

    async def check(self) -> None:
        """Do nothing: memory is always there."""

    async def create(self, session: Session, contents: Contents, *, reply: Reply | None = None) -> None:
        revision = session.revision
        kept = _Kept(session, {revision.number: (revision, contents.weights)}, contents.support)
        self._make_room(kept, instead_of=None)
        self._put(kept)
        self._answer(reply)

    async def get(self, tenant: str, session_id: str) -> Session:
        return self._find(tenant, session_id).session

    async def current(self, tenant: str, session_id: str) -> Current:
        return Current(self._find(tenant, session_id).session)

    async def at(self, tenant: str, session_id: str, number: int) -> Session:
        kept = self._find(tenant, session_id)
        if number in kept.revisions:
            return replace(kept.session, revision=kept.revisions[number][0])
        raise absent_revision(kept.session, number)

    async def weights(self, session: Session) -> bytes:
        kept = self._find(session.tenant, session.id)
        if session.revision.number not in kept.revisions:
            raise absent_revision(kept.session, session.revision.number)
        return kept.revisions[session.revision.number][1]

    async def support(self, session: Session) -> bytes:
        support = self._find(session.tenant, session.id).support
        if support is None:
            raise missing(session, "examples")
        return support

    async def append(self, session: Session, revision: Revision, contents: Contents, *, reply: Reply | None = None) -> Session:
        before = self._find(session.tenant, session.id)
        if before.session.revision.number != session.revision.number:
            raise changed(before.session, session.revision.number)
        revisions = {**before.revisions, revision.number: (revision, contents.weights)}
        newest = dict(islice(revisions.items(), max(0, len(revisions) - REVISIONS_KEPT), None))
        support = before.support if contents.support is None else contents.support
        kept = _Kept(replace(before.session, revision=revision), newest, support)
        self._make_room(kept, instead_of=before)
        self._put(kept)
        self._answer(reply)
        return kept.session

    async def update(self, tenant: str, session_id: str, change: Callable[[Session], Session]) -> Session:
        before = self._find(tenant, session_id)
        self._put(replace(before, session=change(before.session)))
        return self._sessions[session_id].session

    async def list(self, tenant: str, *, wanted: Wanted = ANY, after: str | None, limit: int) -> Sequence[Session]:
        ids = self._meant(tenant, wanted)
        return [self._sessions[key].session for key in [key for key in ids if after is None or key > after][:limit]]

    async def delete(self, tenant: str, session_id: str) -> None:
        self._find(tenant, session_id)
        self._drop(session_id, "was deleted")

    async def delete_all(self, tenant: str, wanted: Wanted) -> int:
        ids = self._meant(tenant, wanted)
        for key in ids:
            self._drop(key, "was deleted")
        return len(ids)

    async def claim(self, claim: Claim) -> bytes | None:
        self._drop_lapsed()
        held = self._claims.get((claim.tenant, claim.key))
        if held is None or held.until <= self._clock():
            self._hold(_Claimed(claim, self._clock() + CLAIMED_FOR, None))
            return None
        return reply_to(claim, fingerprint=held.claim.fingerprint, body=held.body)

    async def release(self, claim: Claim) -> None:
        held = self._claims.get((claim.tenant, claim.key))
        if held is not None and held.body is None:
            del self._claims[claim.tenant, claim.key]

    def _answer(self, reply: Reply | None) -> None:
        if reply is not None:
            self._hold(_Claimed(reply.claim, self._clock() + REPLIES_KEPT_FOR, reply.body))

    def _hold(self, claimed: _Claimed) -> None:
        key = (claimed.claim.tenant, claimed.claim.key)
        self._claims[key] = claimed
        self._claims.move_to_end(key)

    def _drop_lapsed(self) -> None:
        """Drop the claims that lapsed, as far as they were made first, and the oldest of too many."""
        while self._claims and (len(self._claims) > REMEMBERED_COUNT or next(iter(self._claims.values())).until <= self._clock()):
            self._claims.popitem(last=False)

    def _find(self, tenant: str, session_id: str) -> _Kept:
        kept = self._sessions.get(session_id)
        if kept is not None and kept.session.has_expired(self._clock()):
            self._drop(session_id, "has expired")
            kept = None
        if kept is None or kept.session.tenant != tenant:
            raise self._absent(tenant, session_id)
        self._sessions.move_to_end(session_id)
        return kept

    def _meant(self, tenant: str, wanted: Wanted) -> Sequence[str]:
        self._drop_expired()
        return sorted(key for key, kept in self._sessions.items() if kept.session.tenant == tenant and wanted.takes(kept.session))

    def _make_room(self, kept: _Kept, *, instead_of: _Kept | None) -> None:
        """Drop sessions until this one fits; none when it cannot."""
        if kept.size > self._budget_bytes:
            raise TooLargeError(f"expected a session of at most {self._budget_bytes:,} bytes, got {kept.size:,}; use fewer classes")
        self._drop_expired()
        short = self._bytes - (0 if instead_of is None else instead_of.size) + kept.size - self._budget_bytes
        leaving = []
        for key, other in self._sessions.items():
            if short <= 0:
                break
            if not other.session.pinned and key != kept.session.id:
                leaving.append(key)
                short -= other.size
        if short > 0:
            raise StoreFullError(f"all {self._budget_bytes:,} bytes for sessions are taken by pinned ones; delete or unpin some")
        for key in leaving:
            self._drop(key, "was evicted to make room")

    def _put(self, kept: _Kept) -> None:
        before = self._sessions.get(kept.session.id)
        self._bytes += kept.size - (0 if before is None else before.size)
        self._sessions[kept.session.id] = kept
        if not kept.session.pinned and (before is None or before.session != kept.session):
            self._note_expiry(kept.session)

    def _note_expiry(self, session: Session) -> None:
        heappush(self._expiries, (session.expires_at, session.id))
        if len(self._expiries) > 2 * len(self._sessions) + 1024:  # most of them are of sessions that ended before
            self._expiries = [(each.session.expires_at, each.session.id) for each in self._sessions.values() if not each.session.pinned]
            heapify(self._expiries)

    def _drop_expired(self) -> None:
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            _, key = heappop(self._expiries)
            if key in self._sessions and self._sessions[key].session.has_expired(now):
                self._drop(key, "has expired")

    def _drop(self, session_id: str, why: str) -> None:
        kept = self._sessions.pop(session_id)
        self._bytes -= kept.size
        count_ended(why)
        at = self._clock() if kept.session.pinned else min(self._clock(), kept.session.expires_at)
        self._gone[session_id] = _Gone(kept.session.tenant, why, at)
        while len(self._gone) > REMEMBERED_COUNT:
            self._gone.popitem(last=False)

    def _absent(self, tenant: str, session_id: str) -> SessionNotFoundError | SessionGoneError:
        gone = self._gone.get(session_id)
        if gone is None or gone.tenant != tenant or self._clock() - gone.at > REMEMBERED_FOR:
            return never_was(session_id)
        return ended(session_id, gone.why)
