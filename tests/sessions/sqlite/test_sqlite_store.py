import asyncio
import multiprocessing
import random
import resource
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from service.errors import (
    RevisionChangedError,
    ServiceError,
    SessionDamagedError,
    SessionGoneError,
    SessionNotFoundError,
    SessionStoreError,
    StoreFullError,
    StoreUnavailableError,
    TooLargeError,
)
from service.sessions.session import Session
from service.sessions.sqlite import rows, schema
from service.sessions.sqlite.changes import ENDED_AT_ONCE
from service.sessions.sqlite.commits import Commits
from service.sessions.sqlite.rows import MEANT
from service.sessions.sqlite.sqlite_store import SqliteStore
from service.sessions.store import REMEMBERED_FOR, Claim, Contents, Reply, Wanted
from tests.sessions.crash import crash
from tests.sessions.stores import Blocking, contents_of, grown, pinned, renamed, session, weights_of
from tests.tiny import FakeClock

T = TypeVar("T")

GIGABYTE = 10**9
MEGABYTE = 10**6
# What five classes of a 256-number embedding take as safetensors.
WEIGHTS = bytes(5 * 256 * 4 + 5 * 4 + 240)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.sqlite3"


@contextmanager
def opened(path: Path, clock: FakeClock, *, quota_bytes: int = GIGABYTE) -> Iterator[Blocking]:
    blocking = Blocking(SqliteStore(path, clock=clock, quota_bytes=quota_bytes))
    try:
        yield blocking
    finally:
        blocking.close()


def start(path: Path, clock: FakeClock) -> None:
    """Open a store and close it."""

    async def started() -> None:
        async with SqliteStore(path, clock=clock, quota_bytes=GIGABYTE):
            pass

    asyncio.run(started())


def filled(store: Blocking, clock: FakeClock, count: int, contents: Contents | None = None) -> list[Session]:
    """New sessions of ann's, made at once."""
    made = [session(clock) for _ in range(count)]
    at_once(store, [store.inner.create(each, contents or contents_of(each)) for each in made])
    return made


def at_once(store: Blocking, calls: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    """What concurrent calls gave or raised."""

    async def gathered() -> list[T | BaseException]:
        return await asyncio.gather(*calls, return_exceptions=True)

    return store._run(gathered())


def commits(path: Path) -> int:
    """How many commits the log holds: their last frames carry the size of the file."""
    log = path.with_name(path.name + "-wal").read_bytes()
    frames = range(32, len(log), 24 + schema.PAGE_BYTES)
    return sum(struct.unpack_from(">I", log, frame + 4)[0] > 0 for frame in frames)


def value(path: Path, question: str) -> Any:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(question).fetchone()[0]


def flip(path: Path, found: bytes) -> None:
    """Change one bit in the middle of the only place in a file where these bytes are."""
    content = bytearray(path.read_bytes())
    assert content.count(found) == 1
    content[content.index(found) + len(found) // 2] ^= 1
    path.write_bytes(content)


def test_everything_is_there_when_the_store_is_opened_again(path: Path, clock: FakeClock) -> None:
    claim = Claim("ann", "key", "print")
    with opened(path, clock) as store:
        first, deleted, other = session(clock), session(clock), session(clock, tenant="bob")
        for each in (first, deleted, other):
            store.create(each)
        second = store.append(first, grown(first, clock), Contents(weights_of(2), b"more"))
        store.delete("ann", deleted.id)
        store.claim(claim)
    with opened(path, clock) as store:
        assert store.list("ann") == [second]
        assert store.get("bob", other.id) == other
        assert (store.weights(first), store.weights(second)) == (contents_of(first).weights, weights_of(2))
        assert store.support(second) == b"more"
        with pytest.raises(SessionGoneError, match="was deleted"):
            store.get("ann", deleted.id)
        with pytest.raises(ServiceError, match="still running"):
            store.claim(claim)


def test_a_closed_store_is_one_file(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store:
        filled(store, clock, 3)
    assert list(path.parent.iterdir()) == [path]


def test_many_creations_at_once_share_commits(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store:
        filled(store, clock, 1)
        before = commits(path)
        made = filled(store, clock, 64)
        assert commits(path) - before <= 8
        assert {each.id for each in made} < {each.id for each in store.list("ann")}


def test_a_call_that_fails_undoes_only_its_own_part_of_a_shared_commit(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store:
        (kept,) = filled(store, clock, 1)
        store.append(kept, grown(kept, clock), contents_of(kept))
        made = [session(clock) for _ in range(20)]
        creations = [store.inner.create(each, contents_of(each)) for each in made]
        late = [store.inner.append(kept, grown(kept, clock), Contents(b"late", b"late")) for _ in range(3)]
        wrong = [store.inner.update("ann", kept.id, lambda _: replace(kept, name=1 / 0)) for _ in range(3)]  # type: ignore[arg-type]
        results = at_once(store, [*creations[:10], *late, *wrong, *creations[10:]])
        assert [type(each) for each in results[10:16]] == [RevisionChangedError] * 3 + [ZeroDivisionError] * 3
        assert set(results[:10] + results[16:]) == {None}
        assert len(store.list("ann")) == 21
        assert (store.support(kept), store.get("ann", kept.id).name) == (contents_of(kept).support, kept.name)


def test_a_caller_that_gives_up_harms_no_other(path: Path, clock: FakeClock) -> None:
    async def half_given_up(store: SqliteStore, made: list[Session]) -> None:
        calls = [asyncio.ensure_future(store.create(each, contents_of(each))) for each in made]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    with opened(path, clock) as store:
        made = [session(clock) for _ in range(50)]
        assert isinstance(store.inner, SqliteStore)
        store._run(half_given_up(store.inner, made))
        listed = store.list("ann")
        assert {each.id for each in made[1::2]} <= {each.id for each in listed}
        for each in listed:
            assert store.weights(each) == contents_of(each).weights


def test_what_waits_when_the_store_closes_is_still_written(path: Path, clock: FakeClock) -> None:
    async def closed_at_once() -> list[Session]:
        made = [session(clock) for _ in range(20)]
        async with SqliteStore(path, clock=clock, quota_bytes=GIGABYTE) as store:
            calls = [asyncio.ensure_future(store.create(each, contents_of(each))) for each in made]
            await asyncio.sleep(0)
        await asyncio.gather(*calls)
        with pytest.raises(StoreUnavailableError, match="stopping"):
            await store.check()
        with pytest.raises(StoreUnavailableError, match="stopping"):
            await store.create(session(clock), contents_of(made[0]))
        with pytest.raises(StoreUnavailableError):
            await store.get("ann", made[0].id)
        return made

    made = asyncio.run(closed_at_once())
    with opened(path, clock) as store:
        assert {each.id for each in store.list("ann")} == {each.id for each in made}


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(path: Path, clock: FakeClock) -> None:
    start(path, clock)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(SessionStoreError, match=r"version 1 or older at .*, it is of version 99; use the newer"):
        start(path, clock)
    assert path.read_bytes() == before


def another_programs(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (address TEXT)")
        db.execute("PRAGMA user_version = 1")


def no_database(path: Path) -> None:
    path.write_bytes(b"notes\n" * 2000)


def truncated(path: Path) -> None:
    clock = FakeClock()
    with opened(path, clock) as store:
        filled(store, clock, 30)
    path.write_bytes(path.read_bytes()[: 3 * schema.PAGE_BYTES])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (another_programs, "another program's SQLite file; move it away"),
        (no_database, "not an SQLite file; move it away"),
        (truncated, "it is damaged; restore a copy"),
        (Path.mkdir, r"cannot be opened \(.*\); check that"),
    ],
)
def test_what_is_no_session_store_is_refused_and_left_as_it_is(path: Path, clock: FakeClock, make: Any, message: str) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(SessionStoreError, match=f"expected a session store at {path}, .*{message}"):
        start(path, clock)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_file_of_the_version_before_is_brought_up_with_its_sessions(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path, clock) as store:
        made = filled(store, clock, 3)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE sessions ADD COLUMN color TEXT",)))
    with opened(path, clock) as store:
        assert {each.id for each in store.list("ann")} == {each.id for each in made}
    assert value(path, "PRAGMA user_version") == 2


def test_a_migration_that_fails_changes_nothing(path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    start(path, clock)
    broken = ("ALTER TABLE sessions ADD COLUMN color TEXT", "ALTER TABLE absent ADD COLUMN color TEXT")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    with pytest.raises(SessionStoreError, match="no such table"):
        start(path, clock)
    monkeypatch.undo()
    with opened(path, clock) as store:
        filled(store, clock, 1)
    assert value(path, "PRAGMA user_version") == 1


def test_several_that_start_at_once_agree_on_a_new_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        for attempt in range(20):
            path = tmp_path / f"{attempt}.sqlite3"
            for db in list(pool.map(schema.open_writer, [path] * 6)):
                db.close()
            assert value(path, "PRAGMA user_version") == 1


def test_the_store_needs_no_torch() -> None:
    command = [sys.executable, "-c", "import service.sessions.sqlite, sys; sys.exit('torch' in sys.modules)"]
    assert subprocess.run(command, check=False).returncode == 0


def test_over_the_quota_only_what_does_not_fit_is_refused(path: Path, clock: FakeClock) -> None:
    with opened(path, clock, quota_bytes=MEGABYTE) as store:
        made = [session(clock) for _ in range(300)]
        results = at_once(store, [store.inner.create(each, Contents(WEIGHTS, None)) for each in made])
        refused = [each for each, result in zip(made, results, strict=True) if isinstance(result, StoreFullError)]
        kept = [each for each, result in zip(made, results, strict=True) if result is None]
        assert len(refused) + len(kept) == 300
        assert 120 < len(kept) < 180
        assert {each.id for each in store.list("ann", limit=300)} == {each.id for each in kept}
        assert all(store.weights(each) == WEIGHTS for each in kept)
        with pytest.raises(StoreFullError, match="delete sessions"):
            store.create(session(clock), Contents(WEIGHTS, None))
    assert path.stat().st_size <= MEGABYTE + schema.PAGE_BYTES


def test_a_full_store_can_be_changed_and_emptied_and_then_takes_as_much_again(path: Path, clock: FakeClock) -> None:
    with opened(path, clock, quota_bytes=MEGABYTE) as store:
        for _ in range(3):
            filled(store, clock, 300, Contents(WEIGHTS, None))
            kept = store.list("ann", limit=300)
            assert len(kept) > 100
            store.update("ann", kept[0].id, renamed("a longer name than it had" * 8))
            store.delete("ann", kept[1].id)
            assert store.delete_all("ann") == len(kept) - 1
            clock.now += timedelta(days=1)


def test_sessions_too_small_to_free_a_page_can_be_deleted_from_a_full_store(path: Path, clock: FakeClock) -> None:
    with opened(path, clock, quota_bytes=MEGABYTE) as store:
        filled(store, clock, 1500, Contents(b"tiny", None))
        kept = store.list("ann", limit=2000)
        with pytest.raises(StoreFullError):
            store.create(session(clock), Contents(WEIGHTS, None))
        for each in kept[::7]:
            store.delete("ann", each.id)
        assert len(store.list("ann", limit=2000)) == len(kept) - len(kept[::7])


def test_what_alone_exceeds_the_quota_is_refused_as_too_large(path: Path, clock: FakeClock) -> None:
    with opened(path, clock, quota_bytes=MEGABYTE) as store:
        (kept,) = filled(store, clock, 1)
        with pytest.raises(TooLargeError, match="at most 1,000,000 bytes"):
            store.create(session(clock), Contents(b"", bytes(MEGABYTE + 1)))
        with pytest.raises(TooLargeError):
            store.append(kept, grown(kept, clock), Contents(bytes(MEGABYTE + 1), None))


def test_a_disk_that_refuses_a_write_fails_that_write_only(path: Path, clock: FakeClock) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(path, clock) as store:
        (kept,) = filled(store, clock, 1)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(path.name + "-wal").stat().st_size, hard))
            with pytest.raises((StoreUnavailableError, StoreFullError)):
                store.create(session(clock))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        (after,) = filled(store, clock, 1)
        assert {each.id for each in store.list("ann")} == {kept.id, after.id}


def test_deleting_most_sessions_gives_the_disk_back(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store:
        filled(store, clock, 3000, Contents(WEIGHTS, None))
        assert store.delete_all("ann") == 3000 > ENDED_AT_ONCE
        for _ in range(8):
            clock.now += timedelta(minutes=1)
            filled(store, clock, 1)
    assert path.stat().st_size < 15 * MEGABYTE


def test_of_two_processes_that_append_at_once_one_wins(path: Path, clock: FakeClock) -> None:
    async def raced() -> None:
        async with (
            SqliteStore(path, clock=clock, quota_bytes=GIGABYTE) as one,
            SqliteStore(path, clock=clock, quota_bytes=GIGABYTE) as other,
        ):
            kept = session(clock)
            await one.create(kept, contents_of(kept))
            for seed in range(20):
                calls = [
                    store.append(kept, grown(kept, clock, seed=seed), Contents(name, name))
                    for _ in range(4)
                    for store, name in ((one, b"one"), (other, b"other"))
                ]
                results = await asyncio.gather(*calls, return_exceptions=True)
                (winner,) = [place for place, result in enumerate(results) if isinstance(result, Session)]
                assert {type(each) for each in results} == {Session, RevisionChangedError}
                kept = await other.get("ann", kept.id)
                assert kept == results[winner]
                assert await one.weights(kept) == await other.support(kept) == (b"one", b"other")[winner % 2]

    asyncio.run(raced())


def test_a_session_is_read_once_until_something_is_committed(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store:
        kept, other = filled(store, clock, 2)
        asked: list[str] = []
        assert isinstance(store.inner, SqliteStore)
        store.inner._records._db.set_trace_callback(asked.append)
        assert [store.get("ann", kept.id) for _ in range(3)] == [kept] * 3
        assert len(asked) == 1
        store.delete("ann", other.id)
        assert store.get("ann", kept.id) == kept
        assert len(asked) == 2


def test_a_remembered_session_is_its_owners_only_and_expires_in_time(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store:
        (kept,) = filled(store, clock, 1)
        assert store.get("ann", kept.id) == kept
        with pytest.raises(SessionNotFoundError):
            store.get("bob", kept.id)
        clock.now = kept.expires_at
        with pytest.raises(SessionGoneError, match="has expired"):
            store.get("ann", kept.id)


def test_of_many_sessions_only_so_many_bytes_are_remembered(path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "REMEMBERED_BYTES", 2_000)
    with opened(path, clock) as store:
        made = filled(store, clock, 20)
        assert [store.get("ann", each.id) for each in made] == made
        assert isinstance(store.inner, SqliteStore)
        assert 0 < len(store.inner._records._found) < 10


def test_a_store_behind_a_link_sees_changes_whatever_an_earlier_server_left_beside_the_link(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "disk").mkdir()
    path = tmp_path / "sessions.sqlite3"
    path.symlink_to(tmp_path / "disk" / "sessions.sqlite3")
    (tmp_path / "sessions.sqlite3-shm").write_bytes(bytes(32_768))
    with opened(path, clock) as store:
        (kept,) = filled(store, clock, 1)
        assert store.get("ann", kept.id).name != "other"
        store.update("ann", kept.id, renamed("other"))
        assert store.get("ann", kept.id).name == "other"


def test_a_connection_that_writes_no_log_is_not_watched(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "plain.sqlite3")) as db, pytest.raises(SessionStoreError, match="its mode is delete"):
        Commits(db)


def test_what_another_process_commits_is_seen_at_once(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store, ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        (kept,) = filled(store, clock, 1)
        for number in range(20):
            name = f"name {number}"
            assert store.get("ann", kept.id).name != name
            other.submit(rename_elsewhere, path, clock, kept.id, name).result()
            assert store.get("ann", kept.id).name == name


def rename_elsewhere(path: Path, clock: FakeClock, session_id: str, name: str) -> None:
    with opened(path, clock) as store:
        store.update("ann", session_id, renamed(name))


def test_of_two_processes_that_claim_one_key_one_gets_it(path: Path, clock: FakeClock) -> None:
    async def raced() -> list[Any]:
        async with (
            SqliteStore(path, clock=clock, quota_bytes=GIGABYTE) as one,
            SqliteStore(path, clock=clock, quota_bytes=GIGABYTE) as other,
        ):
            return await asyncio.gather(*(store.claim(Claim("ann", "key", "")) for store in (one, other) * 5), return_exceptions=True)

    assert asyncio.run(raced()).count(None) == 1


def test_a_process_that_keeps_the_file_locked_makes_writing_unavailable_and_reading_not(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    with opened(path, clock) as store:
        (kept,) = filled(store, clock, 1)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked"):
                store.create(session(clock))
            assert store.get("ann", kept.id) == kept
            assert store.weights(kept) == contents_of(kept).weights
        filled(store, clock, 1)
        assert len(store.list("ann")) == 2


def test_no_acknowledged_session_is_lost_when_the_process_is_killed(path: Path) -> None:
    acknowledged = crash(path, rounds=3, seed=1)
    assert len(acknowledged.digests) > 30


def test_expired_sessions_leave_the_file(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store:
        filled(store, clock, ENDED_AT_ONCE + 200)
        kept = session(clock)
        store.create(kept)
        store.update("ann", kept.id, pinned)
        clock.now += timedelta(hours=2)
        for _ in range(3):  # one more transaction each
            filled(store, clock, 1)
        for table in ("sessions", "revisions", "support"):
            assert value(path, f"SELECT count(*) FROM {table}") == 4  # noqa: S608
        assert value(path, "SELECT count(*) FROM gone") == ENDED_AT_ONCE + 200
        clock.now += REMEMBERED_FOR + timedelta(days=1)
        filled(store, clock, 1)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM gone WHERE at < 1e6").fetchone() == (0,)
        assert store.get("ann", kept.id).pinned


def test_a_session_of_five_classes_takes_at_most_eight_kibibytes_of_disk(path: Path, clock: FakeClock) -> None:
    count = 2000
    with opened(path, clock) as store:
        made = session(clock)
        five = replace(made.revision, labels=tuple("abcde"), shots=(1,) * 5, losses=(1.6094379425048828,) * 6)
        sessions = [replace(session(clock), revision=five) for _ in range(count)]
        at_once(store, [store.inner.create(each, Contents(WEIGHTS, None)) for each in sessions])
        assert len(store.list("ann", limit=count)) == count
    assert path.stat().st_size / count <= 8192


def test_a_listing_reads_one_tenants_sessions_only(path: Path, clock: FakeClock) -> None:
    with opened(path, clock), closing(sqlite3.connect(path)) as db:
        names = ("tenant", "after", "now", "name", "model", "created_from", "created_until")
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {MEANT}", dict.fromkeys(names))]
    assert plan == ["SEARCH sessions USING INDEX sessions_by_owner (tenant=? AND id>?)"]


def test_a_flipped_bit_in_a_record_is_damage_and_stays_with_its_session(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store:
        kept, damaged, other = session(clock), session(clock), session(clock)
        named = replace(damaged, revision=replace(damaged.revision, labels=("ant", "bee", "cow")))
        for each in (kept, named, other):
            store.create(each)
    flip(path, b'"bee"')
    with opened(path, clock) as store:
        for call in (store.get, store.current):
            with pytest.raises(SessionDamagedError, match="adapt again"):
                call("ann", named.id)
        assert {each.id for each in store.list("ann")} == {kept.id, other.id}
        assert store.weights(named) == contents_of(named).weights
        store.delete("ann", named.id)
        with pytest.raises(SessionGoneError):
            store.get("ann", named.id)


@pytest.mark.parametrize("table", ["revisions", "support"])
def test_missing_contents_are_damage(path: Path, clock: FakeClock, table: str) -> None:
    with opened(path, clock) as store:
        (kept,) = filled(store, clock, 1)
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"DELETE FROM {table}")  # noqa: S608
            db.commit()
        with pytest.raises(SessionDamagedError, match="missing"):
            store.weights(kept) if table == "revisions" else store.support(kept)
        assert store.get("ann", kept.id) == kept


@pytest.mark.parametrize("seed", range(25))
def test_damage_anywhere_in_the_file_gives_the_right_answer_or_an_error_on_purpose(path: Path, clock: FakeClock, seed: int) -> None:
    with opened(path, clock) as store:
        made = filled(store, clock, 40)
        grown_up = [store.append(each, grown(each, clock), contents_of(each)) for each in made[:4]] + made[4:]
    chance = random.Random(seed)  # noqa: S311
    content = bytearray(path.read_bytes())
    for _ in range(30):
        place = chance.randrange(len(content))
        content[place : place + 8] = chance.randbytes(8)
    path.write_bytes(content)
    try:
        start(path, clock)
    except SessionStoreError:
        return
    with opened(path, clock) as store:
        with suppress(ServiceError):
            assert set(store.list("ann")) <= set(grown_up)
        for each in grown_up:
            with suppress(ServiceError):
                assert store.get("ann", each.id) == each
            with suppress(ServiceError):
                store.weights(each)
            with suppress(ServiceError):
                store.append(each, grown(each, clock), contents_of(each))
        with suppress(ServiceError):
            store.delete_all("ann")
        with suppress(ServiceError):
            store.create(session(clock))


def test_a_session_is_found_under_its_owner_only_even_where_ids_are_equal(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store:
        hers = session(clock)
        his = replace(hers, tenant="bob", name="his")
        store.create(hers)
        store.create(his, Contents(b"his", None))
        assert (store.get("ann", hers.id), store.get("bob", hers.id)) == (hers, his)
        assert store.weights(his) == b"his"
        store.delete("bob", hers.id)
        assert store.weights(hers) == contents_of(hers).weights


def test_large_listings_and_ends_are_whole(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as store:
        filled(store, clock, 2 * ENDED_AT_ONCE + 1)
        assert store.delete_all("ann", Wanted(name="nobody")) == 0
        assert store.delete_all("bob") == 0
        assert store.delete_all("ann") == 2 * ENDED_AT_ONCE + 1
        assert store.list("ann") == []
        with pytest.raises(SessionNotFoundError):
            store.get("ann", session(clock).id)


def test_a_file_whose_tables_cannot_be_read_is_refused_and_not_taken_for_an_empty_store(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "sessions.sqlite3"
    store = Blocking(SqliteStore(path, clock=clock, quota_bytes=10**9))
    for _ in range(20):
        store.create(session(clock))
    store.close()
    content = bytearray(path.read_bytes())
    for place in range(4096, len(content), 7):
        content[place] ^= 255
    path.write_bytes(content)
    with pytest.raises(SessionStoreError, match="damaged"):
        Blocking(SqliteStore(path, clock=clock, quota_bytes=10**9))


def test_keys_of_requests_that_died_with_their_process_are_free_again(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "sessions.sqlite3"
    kept, lost = Claim("ann", "kept", "print"), Claim("ann", "lost", "print")
    store = Blocking(SqliteStore(path, clock=clock, quota_bytes=10**9))
    for claim in (kept, lost):
        store.claim(claim)
    store.create(session(clock), reply=Reply(kept, b"answer"))
    store.close()
    store = Blocking(SqliteStore(path, clock=clock, quota_bytes=10**9, alone=True))
    assert (store.claim(kept), store.claim(lost)) == (b"answer", None)
    store.close()
