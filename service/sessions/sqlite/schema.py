"""The file of the embedded session store: what is in it, how it is opened, and what SQLite's errors mean to a caller."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from service.errors import ServiceError, SessionStoreError, StoreFullError, StoreUnavailableError

# "ilss", in the header of every session store: another program's SQLite file is never touched.
APPLICATION_ID = 0x696C7373
PAGE_BYTES = 4096
BUSY_SECONDS = 5.0
# What comes from SQLite when it fails; the second when its message quotes damaged bytes.
FAILURES = (sqlite3.Error, UnicodeDecodeError)

TABLES = ("sessions", "revisions", "earlier", "support", "gone", "claims")

# Each brings a file from the version before to the next; what was released is never edited.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # Integers stand for the 36 characters of an id wherever a session is named again. All times are microseconds since 1970.
        """CREATE TABLE sessions (key INTEGER PRIMARY KEY, tenant TEXT NOT NULL, id TEXT NOT NULL, name TEXT, model TEXT NOT NULL,
             created_at INTEGER NOT NULL, ends_at INTEGER, record BLOB NOT NULL)""",
        "CREATE UNIQUE INDEX sessions_by_owner ON sessions (tenant, id)",
        "CREATE INDEX sessions_by_end ON sessions (ends_at) WHERE ends_at IS NOT NULL",
        # Not WITHOUT ROWID: its rows keep a quarter of a page at most and send the rest to whole pages of their own.
        "CREATE TABLE revisions (key INTEGER PRIMARY KEY, session INTEGER NOT NULL, number INTEGER NOT NULL, weights BLOB NOT NULL)",
        "CREATE UNIQUE INDEX revisions_by_number ON revisions (session, number)",
        # The newest revision is described in the session's record, those before it here.
        """CREATE TABLE earlier (session INTEGER NOT NULL, number INTEGER NOT NULL, record BLOB NOT NULL,
             PRIMARY KEY (session, number)) WITHOUT ROWID""",
        "CREATE TABLE support (session INTEGER PRIMARY KEY, examples BLOB NOT NULL)",
        """CREATE TABLE gone (tenant TEXT NOT NULL, id TEXT NOT NULL, why TEXT NOT NULL, at INTEGER NOT NULL,
             PRIMARY KEY (tenant, id)) WITHOUT ROWID""",
        "CREATE INDEX gone_by_time ON gone (at)",
        """CREATE TABLE claims (tenant TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, until INTEGER NOT NULL, body BLOB,
             PRIMARY KEY (tenant, key)) WITHOUT ROWID""",
        "CREATE INDEX claims_by_end ON claims (until)",
    ),
)


def open_writer(path: Path) -> sqlite3.Connection:
    """Open a session store to write to it; make it, or bring it up to this version.

    Raises:
        SessionStoreError: it is of a newer version, damaged, another program's file, or cannot be opened.
    """
    return _opened(path, lambda: sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False), _prepare)


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a session store that is open for writing elsewhere, to read only; raises as `open_writer` does."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return _opened(
        path, lambda: sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False), _set_cache
    )


def refusal(error: Exception) -> ServiceError:
    """What the caller hears when SQLite refuses."""
    if primary_code(error) == sqlite3.SQLITE_FULL:
        return StoreFullError(
            "expected room for what should be kept, the session store or its disk is full; delete sessions, or give it more"
        )
    if primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreUnavailableError("the session store's file is damaged; restore a copy of it")
    return StoreUnavailableError(f"the session store's file cannot be used now ({error}); try again")


def primary_code(error: Exception) -> int:
    """SQLite's number for the kind of error; 0 when the error is Python's own."""
    return sqlite3.SQLITE_CORRUPT if isinstance(error, UnicodeDecodeError) else int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


@contextmanager
def transaction(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    """Commit on leaving, or undo everything when something was raised."""
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:  # some errors have ended it already
            with suppress(*FAILURES):
                db.execute("ROLLBACK")


def _opened(
    path: Path, connect: Callable[[], sqlite3.Connection], prepare: Callable[[sqlite3.Connection, Path], None]
) -> sqlite3.Connection:
    try:
        db = connect()
        try:
            prepare(db, path)
        except BaseException:
            db.close()
            raise
    except FAILURES as error:
        raise _unusable(path, error) from error
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    # Before anything is written, WAL mode included: it may be another program's.
    with transaction(db, "DEFERRED"):
        version = _check(db, path)
    if version == 0:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that deleting can make the file smaller
    if version < len(MIGRATIONS):
        _migrate(db, path)
    _use_wal(db)
    db.execute("PRAGMA synchronous = FULL")
    # What was deleted is overwritten, whatever SQLite was built with.
    db.execute("PRAGMA secure_delete = ON")
    db.execute("PRAGMA journal_size_limit = 67108864")
    _set_cache(db, path)
    # A file whose tables cannot be read at all must not pass for an empty store; one damaged page is one session's loss.
    for table in TABLES:
        db.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608 - our own names


def _check(db: sqlite3.Connection, path: Path) -> int:
    """Give the version of a session store, 0 for a new file; inside a transaction, lest another process make it meanwhile."""
    application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    (things,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == version == things == 0:
        return 0
    if application != APPLICATION_ID:
        raise SessionStoreError(
            f"expected a session store at {path}, it is another program's SQLite file; move it away, or name another file"
        )
    if version > len(MIGRATIONS):
        raise SessionStoreError(
            f"expected a session store of version {len(MIGRATIONS)} or older at {path}, it is of version {version}; "
            "use the newer innerloop that wrote it"
        )
    return version


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    with transaction(db, "EXCLUSIVE"):
        # Again, now that no other process can do the same.
        for statements in MIGRATIONS[_check(db, path) :]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _use_wal(db: sqlite3.Connection) -> None:
    """Write to a log from now on; tried again while others open the file, for here SQLite itself does not wait."""
    end = monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or monotonic() > end:
                raise
            sleep(0.01)
        else:
            return


def _set_cache(db: sqlite3.Connection, _: Path) -> None:
    db.execute("PRAGMA cache_size = -16384")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _unusable(path: Path, error: Exception) -> SessionStoreError:
    if primary_code(error) == sqlite3.SQLITE_NOTADB:
        return SessionStoreError(f"expected a session store at {path}, it is not an SQLite file; move it away, or name another file")
    if primary_code(error) == sqlite3.SQLITE_CORRUPT:
        return SessionStoreError(
            f"expected a session store at {path}, it is damaged; restore a copy, or move it away to start without sessions"
        )
    return SessionStoreError(
        f"expected a session store at {path}, it cannot be opened ({error}); check that the file and its folder can be written"
    )
