import asyncio
import random
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from service.errors import (
    IdempotencyKeyBusyError,
    RevisionChangedError,
    SessionDamagedError,
    SessionGoneError,
    SessionNotFoundError,
    SessionStoreError,
    StoreFullError,
    StoreUnavailableError,
    TooLargeError,
)
from service.sessions.redis.layout import Keys
from service.sessions.redis.redis_store import MAX_BYTES, RedisStore
from service.sessions.session import Session
from service.sessions.store import ANY, REMEMBERED_FOR, Claim, Contents, Current
from tests.sessions.redis_process import RedisProcess, redis_process, shared_redis
from tests.sessions.stores import Blocking, contents_of, grown, pinned, renamed, session
from tests.tiny import FakeClock

T = TypeVar("T")
STALE_SECONDS = 60
# Two seconds for the answer that does not come, one more for a busy machine.
AWAY_WITHIN = 3.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def server() -> RedisProcess:
    """Shared with other tests, which use other prefixes."""
    return shared_redis()


@pytest.fixture
def own() -> Iterator[RedisProcess]:
    """A server that the test may kill, pause and reconfigure."""
    with redis_process() as process:
        yield process


def redis_store(server: RedisProcess, clock: FakeClock, *, prefix: str = "innerloop") -> RedisStore:
    return RedisStore(server.url, clock=clock, stale_seconds=STALE_SECONDS, prefix=prefix)


@contextmanager
def opened(server: RedisProcess, clock: FakeClock, *, prefix: str = "innerloop") -> Iterator[Blocking]:
    store = Blocking(redis_store(server, clock, prefix=prefix))
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def replicas(server: RedisProcess, clock: FakeClock, prefix: str) -> Iterator[tuple[Blocking, Blocking]]:
    """Two stores on one server."""
    with opened(server, clock, prefix=prefix) as one, opened(server, clock, prefix=prefix) as other:
        yield one, other


def together(store: RedisStore, work: Callable[[RedisStore], Awaitable[T]]) -> T:
    """Open a store, do the work on one event loop, close the store."""

    async def run() -> T:
        async with store:
            return await work(store)

    return asyncio.run(run())


def created(store: Blocking, clock: FakeClock) -> Session:
    made = session(clock)
    store.create(made)
    return made


def test_the_store_needs_no_torch() -> None:
    code = "import sys, service.sessions.redis; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Several replicas


def test_what_one_replica_does_the_other_sees_at_once(replicas: tuple[Blocking, Blocking], clock: FakeClock) -> None:
    one, other = replicas
    made = created(one, clock)
    assert other.current("ann", made.id).session == made
    appended = other.append(made, grown(made, clock), contents_of(made, seed=7))
    assert one.current("ann", made.id).session == appended
    assert one.weights(appended) == contents_of(made, seed=7).weights
    one.update("ann", made.id, renamed("hers"))
    assert other.get("ann", made.id).name == "hers"
    one.delete("ann", made.id)
    with pytest.raises(SessionGoneError, match="was deleted"):
        other.current("ann", made.id)


def test_of_two_replicas_that_append_at_once_one_wins_and_its_contents_are_kept(
    server: RedisProcess, clock: FakeClock, prefix: str
) -> None:
    async def race(one: RedisStore) -> None:
        async with redis_store(server, clock, prefix=prefix) as other:
            made = session(clock)
            await one.create(made, contents_of(made))
            for _ in range(30):
                revisions = [grown(made, clock, seed=seed) for seed in (1, 2)]
                contents = [contents_of(replace(made, revision=each), seed=seed) for seed, each in enumerate(revisions, start=1)]
                results = await asyncio.gather(
                    one.append(made, revisions[0], contents[0]),
                    other.append(made, revisions[1], contents[1]),
                    return_exceptions=True,
                )
                (winner,) = [place for place, each in enumerate(results) if isinstance(each, Session)]
                assert isinstance(results[1 - winner], RevisionChangedError)
                made = await one.get("ann", made.id)
                assert made.revision == revisions[winner]
                assert await other.weights(made) == contents[winner].weights
                assert await other.support(made) == contents[winner].support

    together(redis_store(server, clock, prefix=prefix), race)


def test_changes_made_at_once_are_all_kept(server: RedisProcess, clock: FakeClock, prefix: str) -> None:
    def longer(kept: Session) -> Session:
        return replace(kept, expires_at=kept.expires_at + timedelta(hours=1))

    async def race(one: RedisStore) -> None:
        async with redis_store(server, clock, prefix=prefix) as other:
            made = session(clock)
            await one.create(made, contents_of(made))
            changes = [store.update("ann", made.id, longer) for store in (one, other) for _ in range(10)]
            await asyncio.gather(*changes, one.append(made, grown(made, clock), contents_of(made)))
            kept = await other.get("ann", made.id)
            assert kept.expires_at == made.expires_at + timedelta(hours=20)
            assert kept.revision.number == 2

    together(redis_store(server, clock, prefix=prefix), race)


def test_of_many_who_delete_or_claim_at_once_one_wins(server: RedisProcess, clock: FakeClock, prefix: str) -> None:
    async def race(store: RedisStore) -> None:
        made = session(clock)
        await store.create(made, contents_of(made))
        deletes = await asyncio.gather(*(store.delete("ann", made.id) for _ in range(10)), return_exceptions=True)
        assert sum(each is None for each in deletes) == 1
        assert sum(isinstance(each, SessionGoneError) for each in deletes) == 9
        claims = await asyncio.gather(*(store.claim(Claim("ann", "key", "print")) for _ in range(10)), return_exceptions=True)
        assert sum(each is None for each in claims) == 1
        assert sum(isinstance(each, IdempotencyKeyBusyError) for each in claims) == 9

    together(redis_store(server, clock, prefix=prefix), race)


def test_claims_of_tenants_whose_names_run_together_are_apart(replicas: tuple[Blocking, Blocking]) -> None:
    one, _ = replicas
    assert one.claim(Claim("a", "b:c", "print")) is None
    assert one.claim(Claim("a:b", "c", "other")) is None


# One round trip


def test_a_hundred_look_ups_at_once_are_one_round_trip(server: RedisProcess, clock: FakeClock, prefix: str) -> None:
    async def look(store: RedisStore) -> tuple[int, int]:
        made = [session(clock) for _ in range(100)]
        for each in made:
            await store.create(each, contents_of(each))
        before = look_ups(server)
        found = await asyncio.gather(*(store.current("ann", each.id) for each in made))
        assert [each.session for each in found] == made
        return before, look_ups(server)

    before, after = together(redis_store(server, clock, prefix=prefix), look)
    assert after - before == 1


def look_ups(server: RedisProcess) -> int:
    with server.client() as client:
        stats = client.info("commandstats")
    return int(stats.get("cmdstat_mget", {"calls": 0})["calls"])


def test_no_look_up_is_older_than_its_question_however_many_are_under_way(server: RedisProcess, clock: FakeClock, prefix: str) -> None:
    async def look(store: RedisStore) -> None:
        async with redis_store(server, clock, prefix=prefix) as other:
            made = session(clock)
            await other.create(made, contents_of(made))
            noise = [asyncio.create_task(forever(store, made.id)) for _ in range(8)]
            for _ in range(200):
                made = await other.append(made, grown(made, clock), contents_of(made))
                assert (await store.current("ann", made.id)).session.revision.number == made.revision.number
            for each in noise:
                each.cancel()
            await asyncio.gather(*noise, return_exceptions=True)

    async def forever(store: RedisStore, session_id: str) -> None:
        while True:
            await store.current("ann", session_id)

    together(redis_store(server, clock, prefix=prefix), look)


def test_callers_that_give_up_take_nobodys_answer(server: RedisProcess, clock: FakeClock, prefix: str) -> None:
    async def look(store: RedisStore) -> None:
        made = [session(clock) for _ in range(20)]
        for each in made:
            await store.create(each, contents_of(each))
        draw = random.Random(0)  # noqa: S311 # chance, not secrets
        for _ in range(100):
            asked = draw.choices(made, k=20)
            calls = [asyncio.create_task(store.current("ann", each.id)) for each in asked]
            reads = [asyncio.create_task(store.weights(each)) for each in asked]
            await asyncio.sleep(draw.random() * 0.002)
            for task in draw.sample([*calls, *reads], 20):
                task.cancel()
            for kept, call, read in zip(asked, calls, reads, strict=True):
                (found, weights) = await asyncio.gather(call, read, return_exceptions=True)
                assert isinstance(found, asyncio.CancelledError) or (not isinstance(found, BaseException) and found.session == kept)
                assert isinstance(weights, asyncio.CancelledError) or weights == contents_of(kept).weights

    together(redis_store(server, clock, prefix=prefix), look)


# Redis away


def test_while_redis_is_away_sessions_seen_are_answered_stale_and_nothing_else_is(own: RedisProcess, clock: FakeClock) -> None:
    with opened(own, clock) as store, opened(own, clock) as elsewhere:
        made, unseen, dropped = created(store, clock), created(elsewhere, clock), created(store, clock)
        elsewhere.delete("ann", dropped.id)
        with pytest.raises(SessionGoneError):
            store.current("ann", dropped.id)
        own.kill()
        clock.now += timedelta(seconds=STALE_SECONDS)
        found = store.current("ann", made.id)
        assert (found.session, found.stale) == (made, True)
        with pytest.raises(SessionNotFoundError):
            store.current("bob", made.id)
        for absent in (unseen.id, dropped.id, "nothing"):
            with pytest.raises(StoreUnavailableError):
                store.current("ann", absent)
        clock.now += timedelta(seconds=1)
        with pytest.raises(StoreUnavailableError, match="cannot be reached; try again"):
            store.current("ann", made.id)


def test_while_redis_is_away_a_session_still_expires(own: RedisProcess, clock: FakeClock) -> None:
    with opened(own, clock) as store:
        made = session(clock, lives=timedelta(seconds=30))
        store.create(made)
        own.kill()
        clock.now = made.expires_at
        with pytest.raises(SessionGoneError, match="has expired"):
            store.current("ann", made.id)


def test_while_redis_is_away_every_other_call_says_so(own: RedisProcess, clock: FakeClock) -> None:
    async def call(store: RedisStore) -> None:
        made, claim = session(clock), Claim("ann", "key", "print")
        await store.create(made, contents_of(made))
        own.kill()
        calls = [
            store.create(session(clock), contents_of(made)),
            store.get("ann", made.id),
            store.at("ann", made.id, 1),
            store.weights(made),
            store.support(made),
            store.append(made, grown(made, clock), contents_of(made)),
            store.update("ann", made.id, pinned),
            store.list("ann", after=None, limit=10),
            store.delete("ann", made.id),
            store.delete_all("ann", ANY),
            store.claim(claim),
            store.release(claim),
            store.check(),
        ]
        for each in calls:
            with pytest.raises(StoreUnavailableError, match="cannot be reached") as raised:
                await each
            assert raised.value.retry_after_seconds > 0
        with pytest.raises(StoreUnavailableError, match=r"Redis at 127\.0\.0\.1"):
            await store.check()

    together(redis_store(own, clock), call)


def check(store: Blocking) -> None:
    store._run(store.inner.check())


def test_the_store_heals_with_the_first_call_after_redis_is_back(own: RedisProcess, clock: FakeClock) -> None:
    with opened(own, clock) as store, capture_logs() as logs:
        made = created(store, clock)
        assert not store.current("ann", made.id).stale
        own.kill()
        own.start()
        found = store.current("ann", made.id)  # It was never asked while Redis was away.
        assert (found.session, found.stale) == (made, False)
        own.kill()
        assert store.current("ann", made.id).stale
        own.start()
        store.create(session(clock))
        assert not store.current("ann", made.id).stale
        check(store)
    assert [each["event"] for each in logs] == ["session store away", "session store back"]


def test_kill_9_loses_nothing_that_was_acknowledged(own: RedisProcess, clock: FakeClock) -> None:
    async def create_until_killed(store: RedisStore) -> tuple[list[Session], list[Session]]:
        await asyncio.gather(*(create_on(store) for _ in range(16)))
        return acknowledged, appended

    async def create_on(store: RedisStore) -> None:
        while True:
            made = session(clock)
            try:
                await store.create(made, contents_of(made))
                acknowledged.append(made)
                appended.append(await store.append(made, grown(made, clock), contents_of(made)))
            except StoreUnavailableError:
                return

    acknowledged: list[Session] = []
    appended: list[Session] = []
    killer = threading.Timer(0.7, own.kill)
    killer.start()
    together(redis_store(own, clock), create_until_killed)
    killer.join()
    own.start()
    assert len(appended) > 20
    with opened(own, clock) as store:
        for made in acknowledged:
            assert store.get("ann", made.id).created_at == made.created_at
        for grown_one in appended:
            assert store.get("ann", grown_one.id) == grown_one
            assert store.weights(grown_one) == contents_of(replace(grown_one, revision=replace(grown_one.revision, number=1))).weights


def test_a_redis_that_hangs_is_as_good_as_away(own: RedisProcess, clock: FakeClock) -> None:
    async def look(store: RedisStore) -> None:
        made = session(clock)
        await store.create(made, contents_of(made))
        own.pause()
        try:
            for _ in range(2):
                began = time.monotonic()
                found = await asyncio.gather(*(late(store, made.id, seconds) for seconds in (0, 0.5, 1.0)))
                assert all(each.stale for each in found)
                assert time.monotonic() - began < AWAY_WITHIN
            with pytest.raises(StoreUnavailableError):
                await store.create(session(clock), contents_of(made))
        finally:
            own.resume()
        assert not (await store.current("ann", made.id)).stale

    async def late(store: RedisStore, session_id: str, seconds: float) -> Current:
        await asyncio.sleep(seconds)
        return await store.current("ann", session_id)

    together(redis_store(own, clock), look)


def test_a_store_opens_without_redis_and_works_when_it_comes(tmp_path: Path, clock: FakeClock) -> None:
    process = RedisProcess(tmp_path)
    with capture_logs() as logs, opened(process, clock) as store:
        with pytest.raises(StoreUnavailableError):
            check(store)
        process.start()
        try:
            check(store)
            made = created(store, clock)
            assert store.current("ann", made.id).session == made
        finally:
            process.stop()
    assert logs[0]["log_level"] == "warning"


# What the server refuses


def test_sessions_of_a_newer_version_are_refused(server: RedisProcess, clock: FakeClock, prefix: str) -> None:
    with server.client() as client:
        client.set(Keys(prefix).schema, 2)
    with pytest.raises(SessionStoreError, match=r"expected sessions of schema 1 .* says '2'; start the version"):
        together(redis_store(server, clock, prefix=prefix), lambda store: store.check())


def test_sessions_of_a_newer_version_that_are_found_later_are_left_alone(tmp_path: Path, clock: FakeClock) -> None:
    process = RedisProcess(tmp_path)
    with opened(process, clock) as store:
        process.start()
        try:
            with process.client() as client:
                client.set(Keys("innerloop").schema, 2)
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match="schema 1"):
                    created(store, clock)
        finally:
            process.stop()


def test_a_full_redis_can_still_be_read_and_emptied(own: RedisProcess, clock: FakeClock) -> None:
    with ExitStack() as stack:
        store, client = stack.enter_context(opened(own, clock)), stack.enter_context(own.client())
        made, other, third = (created(store, clock) for _ in range(3))
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreFullError, match="no memory left"):
            created(store, clock)
        with pytest.raises(StoreFullError):
            store.append(made, grown(made, clock), contents_of(made))
        with pytest.raises(StoreFullError):
            store.claim(Claim("ann", "key", "print"))
        late = stack.enter_context(opened(own, clock))  # One may also start while it is full.
        assert late.current("ann", made.id).session == made
        assert store.weights(made) == contents_of(made).weights
        store.delete("ann", made.id)
        with pytest.raises(SessionGoneError, match="was deleted"):
            late.get("ann", made.id)
        assert [each.id for each in store.list("ann")] == sorted([other.id, third.id])
        assert store.delete_all("ann") == 2
        check(store)
        client.config_set("maxmemory", 0)
        created(store, clock)


def test_a_read_only_replica_says_what_is_wrong_when_written_to(own: RedisProcess, clock: FakeClock) -> None:
    with opened(own, clock) as store, own.client() as client:
        made = created(store, clock)
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(StoreUnavailableError, match="refuses to work: You can't write against a read only replica"):
            store.delete("ann", made.id)
        assert not store.current("ann", made.id).stale
        client.replicaof("NO", "ONE")
        store.delete("ann", made.id)


def test_a_password_never_shows(clock: FakeClock) -> None:
    with redis_process(requirepass="right") as process, capture_logs() as logs:
        store = Blocking(RedisStore(process.url.replace("//", "//:hunter2@"), clock=clock, stale_seconds=0))
        with pytest.raises(StoreUnavailableError, match=r"WRONGPASS|invalid") as raised:
            check(store)
        store.close()
    assert logs
    assert "hunter2" not in f"{logs} {raised.value.message} {raised.value.__cause__!r}"


@pytest.mark.parametrize(
    "url", ["http://:hunter2@127.0.0.1", ":hunter2@127.0.0.1", "redis://:hunter2/@127.0.0.1", "redis://:hunter2@127.0.0.1:port", ""]
)
def test_an_address_that_is_none_is_refused_without_its_password(clock: FakeClock, url: str) -> None:
    with pytest.raises(SessionStoreError, match="expected the session store as redis://") as raised:
        RedisStore(url, clock=clock, stale_seconds=0)
    assert "hunter2" not in raised.value.message


def test_a_server_that_may_lose_sessions_is_warned_of(clock: FakeClock) -> None:
    with redis_process(appendonly="no", maxmemory_policy="allkeys-lru") as process, capture_logs() as logs, opened(process, clock):
        pass
    assert [(each["setting"], each["found"], each["wanted"]) for each in logs] == [
        ("appendonly", "no", "yes"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ]


def test_a_server_that_tells_nothing_of_its_configuration_will_do(clock: FakeClock) -> None:
    with redis_process(rename_command="CONFIG nobody-knows") as process, capture_logs() as logs, opened(process, clock) as store:
        created(store, clock)
    assert logs == []


# What is in the server


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b'{"id": 1}'])
def test_a_damaged_record_is_said_to_be_and_hides_no_other(
    replicas: tuple[Blocking, Blocking], server: RedisProcess, clock: FakeClock, prefix: str, damage: bytes
) -> None:
    store, _ = replicas
    made, other = created(store, clock), created(store, clock)
    with server.client() as client:
        client.set(Keys(prefix).record(made.id), damage)
    for call in (store.get, store.current, store.delete):
        with pytest.raises(SessionDamagedError):
            call("ann", made.id)
    assert store.list("ann") == [other]


def test_a_record_in_the_place_of_another_is_damaged(
    replicas: tuple[Blocking, Blocking], server: RedisProcess, clock: FakeClock, prefix: str
) -> None:
    store, _ = replicas
    made, other = created(store, clock), created(store, clock)
    with server.client() as client:
        client.copy(Keys(prefix).record(other.id), Keys(prefix).record(made.id), replace=True)
    with pytest.raises(SessionDamagedError):
        store.current("ann", made.id)


def test_lost_contents_are_damage_and_not_an_end(
    replicas: tuple[Blocking, Blocking], server: RedisProcess, clock: FakeClock, prefix: str
) -> None:
    store, _ = replicas
    made = created(store, clock)
    with server.client() as client:
        client.delete(Keys(prefix).contents(made.id))
    with pytest.raises(SessionDamagedError, match="weights"):
        store.weights(made)
    with pytest.raises(SessionDamagedError, match="examples"):
        store.support(made)
    assert store.get("ann", made.id) == made


def test_redis_clears_contents_after_the_end_and_records_a_week_later_but_nothing_pinned(
    replicas: tuple[Blocking, Blocking], server: RedisProcess, clock: FakeClock, prefix: str
) -> None:
    store, _ = replicas
    keys = Keys(prefix)
    made = session(clock, lives=timedelta(hours=3))
    store.create(made)
    with server.client() as client:

        def stays(key: str) -> float:
            return float(client.pttl(key)) / 1000

        week = REMEMBERED_FOR.total_seconds()
        assert 3 * 3600 < stays(keys.contents(made.id)) < 3.5 * 3600
        assert 3 * 3600 < stays(keys.record(made.id)) - week < 3.5 * 3600
        store.update("ann", made.id, pinned)
        assert client.pttl(keys.record(made.id)) == client.pttl(keys.contents(made.id)) == -1
        clock.now += timedelta(hours=1)
        store.update("ann", made.id, lambda kept: replace(kept, pinned=False))
        assert 2 * 3600 < stays(keys.contents(made.id)) < 2.5 * 3600
        assert 2 * 3600 < stays(keys.record(made.id)) - week < 2.5 * 3600
        store.delete("ann", made.id)
        assert not client.exists(keys.record(made.id), keys.contents(made.id), keys.ids("ann"))
        assert week < stays(keys.tombstone(made.id)) < week + 3600


def test_ids_whose_sessions_redis_cleared_away_do_not_pile_up(
    replicas: tuple[Blocking, Blocking], server: RedisProcess, clock: FakeClock, prefix: str
) -> None:
    store, _ = replicas
    with server.client() as client:
        for _ in range(300):
            made = created(store, clock)
            client.delete(Keys(prefix).record(made.id), Keys(prefix).contents(made.id))
        assert client.zcard(Keys(prefix).ids("ann")) < 30
        kept = created(store, clock)
        assert store.list("ann") == [kept]
        clock.now = kept.expires_at
        assert store.list("ann") == []
        assert client.zcard(Keys(prefix).ids("ann")) == 0


def test_a_value_that_redis_does_not_take_is_refused(replicas: tuple[Blocking, Blocking], clock: FakeClock) -> None:
    store, _ = replicas
    made = session(clock)
    with pytest.raises(TooLargeError, match=f"at most {MAX_BYTES:,} bytes"):
        store.create(made, Contents(bytes(MAX_BYTES), b"and more"))
    assert store.list("ann") == []
