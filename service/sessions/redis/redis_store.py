"""Sessions in Redis or Valkey, for several replicas: any of them answers for any session."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self

from service.errors import StoreUnavailableError, TooLargeError
from service.sessions.counters import count_ended
from service.sessions.records import dump_session, load_revision
from service.sessions.redis.last_seen import LastSeen
from service.sessions.redis.layout import CLEARED_AFTER, Keys, Tombstone, answer_of, fields_of, lifetimes, milliseconds, since_1970
from service.sessions.redis.lookups import Lookups
from service.sessions.redis.records import absence, living, read, readable
from service.sessions.redis.scripts import CLAIM, END, PUT, READ, RELEASE
from service.sessions.redis.server import RedisServer
from service.sessions.refusals import absent_revision, changed, missing, reply_to
from service.sessions.session import Revision, Session
from service.sessions.store import ANY, CLAIMED_FOR, REMEMBERED_FOR, REVISIONS_KEPT, Claim, Contents, Current, Reply, Wanted

SEEN_COUNT = 100_000
# Sessions that are read, or ended, in one go.
PAGE = 500
# Redis takes no larger value.
MAX_BYTES = 512 * 2**20

# The record of a session and its tombstone, as far as they are there.
Found = tuple[bytes | None, bytes | None]
Args = list[str | bytes | int]


class RedisStore:
    """A session store on one Redis primary; a Redis Cluster, which splits keys over servers, is not supported.

    Every answer comes from Redis, so what one replica did, all see at once. While Redis is away, `current` goes on with what this
    process saw last, for `stale_seconds` after Redis was last reached; everything else raises StoreUnavailableError. It heals by itself.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime], stale_seconds: float, prefix: str = "innerloop") -> None:
        self._server = RedisServer(url, clock=clock, schema_key=Keys(prefix).schema)
        self._keys = Keys(prefix)
        self._clock = clock
        self._stale_for = timedelta(seconds=stale_seconds)
        self._seen = LastSeen(SEEN_COUNT)
        self._lookups = Lookups(self._look_up)

    async def __aenter__(self) -> Self:
        """Open the store, also when Redis is away; raises SessionStoreError when a newer version wrote what is in it."""
        await self._server.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._lookups.close()
        await self._server.close()

    async def check(self) -> None:
        try:
            await self._server.ask("PING")
        except StoreUnavailableError as error:
            raise StoreUnavailableError(f"{error.message} (Redis at {self._server.address}: {error.__cause__})") from error

    async def create(self, session: Session, contents: Contents, *, reply: Reply | None = None) -> None:
        await self._put(session, contents=contents, reply=reply)

    async def get(self, tenant: str, session_id: str) -> Session:
        _, session = await self._find(tenant, session_id)
        return session

    async def current(self, tenant: str, session_id: str) -> Current:
        try:
            return Current(await self.get(tenant, session_id))
        except StoreUnavailableError:
            seen = self._last_seen(session_id)
            if seen is None:
                raise
            return Current(living(tenant, seen, now=self._clock()), stale=True)

    async def at(self, tenant: str, session_id: str, number: int) -> Session:
        session, (revision,) = await self._with_contents(tenant, session_id, f"revision:{number}")
        if number == session.revision.number:
            return session
        if revision is None:
            raise absent_revision(session, number)
        return replace(session, revision=load_revision(revision))

    async def weights(self, session: Session) -> bytes:
        number = session.revision.number
        newest, (weights, revision) = await self._with_contents(session.tenant, session.id, f"weights:{number}", f"revision:{number}")
        if weights is not None:
            return weights
        if revision is None and number != newest.revision.number:
            raise absent_revision(newest, number)
        raise missing(newest, "weights")

    async def support(self, session: Session) -> bytes:
        newest, (support,) = await self._with_contents(session.tenant, session.id, "support")
        if support is None:
            raise missing(newest, "examples")
        return support

    async def append(self, session: Session, revision: Revision, contents: Contents, *, reply: Reply | None = None) -> Session:
        while True:
            record, before = await self._find(session.tenant, session.id)
            if before.revision.number != session.revision.number:
                raise changed(before, session.revision.number)
            after = replace(before, revision=revision)
            if await self._put(after, instead_of=record, contents=contents, reply=reply):
                return after

    async def update(self, tenant: str, session_id: str, change: Callable[[Session], Session]) -> Session:
        while True:
            record, before = await self._find(tenant, session_id)
            after = change(before)
            if await self._put(after, instead_of=record):
                return after

    async def list(self, tenant: str, *, wanted: Wanted = ANY, after: str | None, limit: int) -> Sequence[Session]:
        found: list[Session] = []
        last: str | None = after or ""
        count = limit
        while last is not None and len(found) < limit:
            last, sessions = await self._page(tenant, last, min(count, PAGE))
            found += filter(wanted.takes, sessions)
            count *= 2  # Few of many are wanted, or many have expired.
        return found[:limit]

    async def delete(self, tenant: str, session_id: str) -> None:
        await self._find(tenant, session_id)
        if not await self._end(tenant, [session_id]):
            await self._find(tenant, session_id)  # Another call was faster; this one says so.

    async def delete_all(self, tenant: str, wanted: Wanted) -> int:
        """End every session that is meant, PAGE at a time: if Redis goes away meanwhile, another call ends the rest."""
        last: str | None = ""
        count = 0
        while last is not None:
            last, sessions = await self._page(tenant, last, PAGE)
            count += await self._end(tenant, [session.id for session in sessions if wanted.takes(session)])
        return count

    async def claim(self, claim: Claim) -> bytes | None:
        now = self._clock()
        args = (claim.fingerprint, since_1970(now), since_1970(now + CLAIMED_FOR), milliseconds(CLAIMED_FOR + CLEARED_AFTER))
        held = await self._server.run(CLAIM, keys=[self._keys.claim(claim)], args=args)
        if held is None:
            return None
        fingerprint, body = held
        return reply_to(claim, fingerprint=fingerprint.decode(), body=body)

    async def release(self, claim: Claim) -> None:
        await self._server.run(RELEASE, keys=[self._keys.claim(claim)], args=[claim.fingerprint])

    async def _put(
        self, session: Session, *, instead_of: bytes = b"", contents: Contents | None = None, reply: Reply | None = None
    ) -> bool:
        """Write a session, with what comes with it; False, and nothing written, when its record is another by now."""
        now, number = self._clock(), session.revision.number
        fields = [] if contents is None else fields_of(session.revision, contents)
        _check_size(fields)
        keys = [self._keys.record(session.id), self._keys.contents(session.id), self._keys.ids(session.tenant)]
        args: Args = [session.id, instead_of, dump_session(session), *lifetimes(session, now), number - REVISIONS_KEPT]
        if reply is not None:
            keys.append(self._keys.claim(reply.claim))
        args += [""] * 4 if reply is None else answer_of(reply, now)
        written = await self._server.run(PUT, keys=keys, args=[*args, *fields])
        if written:
            self._seen.saw(session)
        return bool(written)

    async def _end(self, tenant: str, ids: Sequence[str]) -> int:
        """End sessions, and say how many were still there."""
        names = (self._keys.record, self._keys.contents, self._keys.tombstone)
        keys = [self._keys.ids(tenant), *(name(each) for each in ids for name in names)]
        tombstone = Tombstone(tenant, "was deleted", self._clock()).dump()
        count: int = await self._server.run(END, keys=keys, args=[tombstone, milliseconds(REMEMBERED_FOR + CLEARED_AFTER), *ids])
        for each in ids:
            self._seen.ended(each)
        count_ended("was deleted", count)
        return count

    async def _page(self, tenant: str, after: str, count: int) -> tuple[str | None, Sequence[Session]]:
        """Give the living among the next `count` sessions, and the last id, None when no more follow."""
        now, key = self._clock(), self._keys.ids(tenant)
        ids = [each.decode() for each in await self._server.ask("ZRANGEBYLEX", key, f"({after}", "+", "LIMIT", 0, count)]
        if not ids:
            return None, []
        records = await self._server.ask("MGET", *map(self._keys.record, ids))
        found = {each: readable(each, record) for each, record in zip(ids, records, strict=True) if record is not None}
        sessions = [each for each in found.values() if each is not None]
        over = [*(set(ids) - found.keys()), *(each.id for each in sessions if each.has_expired(now))]
        if over:
            await self._server.ask("ZREM", key, *over)
        return (ids[-1] if len(ids) == count else None), [each for each in sessions if not each.has_expired(now)]

    async def _look_up(self, ids: Sequence[str]) -> Sequence[Found]:
        values = await self._server.look_up([key for each in ids for key in (self._keys.record(each), self._keys.tombstone(each))])
        return list(zip(values[::2], values[1::2], strict=True))

    async def _find(self, tenant: str, session_id: str) -> tuple[bytes, Session]:
        return self._verdict(tenant, session_id, await self._lookups.find(session_id))

    async def _with_contents(self, tenant: str, session_id: str, *fields: str) -> tuple[Session, Sequence[bytes | None]]:
        """Give a session and fields of its contents, as of one moment."""
        keys = [self._keys.record(session_id), self._keys.tombstone(session_id), self._keys.contents(session_id)]
        record, tombstone, contents = await self._server.run(READ, keys=keys, args=fields)
        _, session = self._verdict(tenant, session_id, (record, tombstone))
        return session, contents

    def _verdict(self, tenant: str, session_id: str, found: Found) -> tuple[bytes, Session]:
        """Give the record that was found and its session, or raise why there is none for this tenant."""
        record, tombstone = found
        if record is None:
            if self._seen.get(session_id) is not None:  # Not of any id that someone makes up.
                self._seen.ended(session_id)
            raise absence(tenant, session_id, tombstone, now=self._clock())
        session = read(session_id, record)
        self._seen.saw(session)
        return record, living(tenant, session, now=self._clock())

    def _last_seen(self, session_id: str) -> Session | None:
        """Give a session as this process saw it last, as long as Redis was reached recently enough."""
        reached_at = self._server.reached_at
        if reached_at is None or self._clock() - reached_at > self._stale_for:
            return None
        return self._seen.get(session_id)


def _check_size(fields: Sequence[str | bytes]) -> None:
    size = sum(map(len, fields))
    if size > MAX_BYTES:
        raise TooLargeError(f"expected a session of at most {MAX_BYTES:,} bytes, got {size:,}; use fewer classes or examples")
