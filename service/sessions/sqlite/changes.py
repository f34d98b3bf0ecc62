"""Sessions as rows of the embedded store: what changes them. The caller's transaction makes each change whole."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import islice

from service.sessions.counters import count_ended
from service.sessions.records import dump_revision, dump_session
from service.sessions.refusals import changed, reply_to
from service.sessions.session import Revision, Session
from service.sessions.sqlite.rows import MEANT, Rows, meaning, micros, seal
from service.sessions.store import CLAIMED_FOR, REMEMBERED_FOR, REPLIES_KEPT_FOR, REVISIONS_KEPT, Claim, Contents, Reply, Wanted

# So many end in one transaction: others wait for it.
ENDED_AT_ONCE = 500
# Pages given back to the disk in one transaction.
SHRUNK_AT_ONCE = 2000

FIND_TO_DELETE = "SELECT key FROM sessions WHERE tenant = ? AND id = ? AND (ends_at IS NULL OR ends_at > ?)"
# A session that expired before it was found to have, ended then.
REMEMBER = """INSERT OR REPLACE INTO gone (tenant, id, why, at)
  SELECT tenant, id, ?1, min(coalesce(ends_at, ?2), ?2) FROM sessions WHERE key = ?3"""
END = (
    "DELETE FROM revisions WHERE session = ?",
    "DELETE FROM earlier WHERE session = ?",
    "DELETE FROM support WHERE session = ?",
    "DELETE FROM sessions WHERE key = ?",
)


class Changes(Rows):
    """What one connection writes, inside a transaction that the caller begins and ends."""

    def create(self, session: Session, contents: Contents, *, reply: Reply | None) -> None:
        """Keep a new session."""
        made = self._db.execute(
            "INSERT INTO sessions (tenant, id, name, model, created_at, ends_at, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (session.tenant, session.id, session.name, session.model, micros(session.created_at), _ends_at(session), _record(session)),
        )
        self._put_contents(int(made.lastrowid or 0), session.revision.number, contents)
        self._answer(reply)

    def append(self, session: Session, revision: Revision, contents: Contents, *, reply: Reply | None) -> Session:
        """Add a revision; raises as `SessionStore.append` does."""
        key, before = self._row(session.tenant, session.id)
        if before.revision.number != session.revision.number:
            raise changed(before, session.revision.number)
        self._db.execute(
            "INSERT INTO earlier (session, number, record) VALUES (?, ?, ?)",
            (key, before.revision.number, seal(dump_revision(before.revision))),
        )
        self._put_contents(key, revision.number, contents)
        for statement in (
            "DELETE FROM revisions WHERE session = ? AND number <= ?",
            "DELETE FROM earlier WHERE session = ? AND number <= ?",
        ):
            self._db.execute(statement, (key, revision.number - REVISIONS_KEPT))
        after = replace(before, revision=revision)
        self._put_record(key, after)
        self._answer(reply)
        return after

    def update(self, tenant: str, session_id: str, change: Callable[[Session], Session]) -> Session:
        """Replace a session by what `change` makes of it; raises as `find` does."""
        key, before = self._row(tenant, session_id)
        after = change(before)
        self._put_record(key, after)
        return after

    def delete(self, tenant: str, session_id: str) -> None:
        """End a session, even one whose record is damaged; raises as `find` does."""
        row = self._one(FIND_TO_DELETE, tenant, session_id, micros(self._clock()))
        if row is None:
            self.find(tenant, session_id)
        else:
            self._end([row[0]], "was deleted")

    def delete_some(self, tenant: str, wanted: Wanted) -> int:
        """End the first ENDED_AT_ONCE of the sessions that are meant, and say how many."""
        with closing(self._db.execute(MEANT, meaning(tenant, wanted, after=None, now=self._clock()))) as rows:
            keys = [key for key, _ in islice(rows, ENDED_AT_ONCE)]
        self._end(keys, "was deleted")
        return len(keys)

    def claim(self, claim: Claim) -> bytes | None:
        """Take a key; raises as `SessionStore.claim` does."""
        now = micros(self._clock())
        held = self._one(
            "SELECT fingerprint, body FROM claims WHERE tenant = ? AND key = ? AND until > ?",
            claim.tenant, claim.key, now,
        )  # fmt: skip
        if held is not None:
            return reply_to(claim, fingerprint=held[0], body=held[1])
        self._hold(claim, None, CLAIMED_FOR)
        return None

    def release(self, claim: Claim) -> None:
        """Give up a key that has no reply; one that lapsed and was taken by another request stays that one's."""
        self._db.execute(
            "DELETE FROM claims WHERE tenant = ? AND key = ? AND fingerprint = ? AND body IS NULL",
            (claim.tenant, claim.key, claim.fingerprint),
        )

    def give_up_claims(self) -> None:
        """Give up every key without a reply: those who held them are gone."""
        self._db.execute("DELETE FROM claims WHERE body IS NULL")

    def sweep(self) -> bool:
        """Clear away what ended, was remembered long enough or lapsed; say whether there may be more."""
        now = self._clock()
        rows = self._db.execute("SELECT key FROM sessions WHERE ends_at <= ? ORDER BY ends_at LIMIT ?", (micros(now), ENDED_AT_ONCE))
        keys = [key for (key,) in rows.fetchall()]
        self._end(keys, "has expired")
        self._db.execute("DELETE FROM gone WHERE at < ?", (micros(now - REMEMBERED_FOR),))
        self._db.execute("DELETE FROM claims WHERE until <= ?", (micros(now),))
        return self._shrink() or len(keys) == ENDED_AT_ONCE

    def _shrink(self) -> bool:
        """Give free pages back to the disk while they are more than a quarter of the file; say whether there may be more."""
        (pages,), (free,) = (self._db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count"))
        if free < max(SHRUNK_AT_ONCE, pages // 4):
            return False
        for _ in range(SHRUNK_AT_ONCE):
            self._db.execute("PRAGMA incremental_vacuum(1)")  # Python's module takes one step, which is one page, whatever the number
        return True

    def _end(self, keys: Sequence[int], why: str) -> None:
        now = micros(self._clock())
        self._db.executemany(REMEMBER, [(why, now, key) for key in keys])
        for statement in END:
            self._db.executemany(statement, [(key,) for key in keys])
        count_ended(why, len(keys))

    def _put_record(self, key: int, session: Session) -> None:
        self._db.execute(
            "UPDATE sessions SET name = ?, ends_at = ?, record = ? WHERE key = ?",
            (session.name, _ends_at(session), _record(session), key),
        )

    def _put_contents(self, key: int, number: int, contents: Contents) -> None:
        self._db.execute("INSERT INTO revisions (session, number, weights) VALUES (?, ?, ?)", (key, number, contents.weights))
        if contents.support is not None:
            self._db.execute("INSERT OR REPLACE INTO support (session, examples) VALUES (?, ?)", (key, contents.support))

    def _answer(self, reply: Reply | None) -> None:
        if reply is not None:
            self._hold(reply.claim, reply.body, REPLIES_KEPT_FOR)

    def _hold(self, claim: Claim, body: bytes | None, for_: timedelta) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO claims (tenant, key, fingerprint, until, body) VALUES (?, ?, ?, ?, ?)",
            (claim.tenant, claim.key, claim.fingerprint, micros(self._clock() + for_), body),
        )


def _record(session: Session) -> bytes:
    return seal(dump_session(session))


def _ends_at(session: Session) -> int | None:
    return None if session.pinned else micros(session.expires_at)
