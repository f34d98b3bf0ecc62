"""Whether anything was committed to the file since: seen in the memory that SQLite's processes share, without asking SQLite."""

import mmap
import sqlite3
from pathlib import Path

from service.errors import SessionStoreError

HEADER_BYTES = 48
INITIALISED = 12  # the byte that says whether the header is in use


class Commits:
    """The state that a file is in: while it stays equal, no process has committed anything.

    It is the header of the WAL index, by which every connection of SQLite sees whether its own cache still holds: a counter in it and
    its checksum change with every commit. Asking SQLite instead takes system calls and hands over the interpreter lock, which cost a
    prediction a tenth.

    A process may watch a file once, and closes this after its last connection to the file: POSIX gives up all of a process's locks on a
    file with the first descriptor of it that is closed, those that SQLite holds too.

    Source: https://www.sqlite.org/walformat.html, section 2.1.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        """Watch the file of a connection that has read it and writes ahead to a log.

        Raises:
            SessionStoreError: there is no such index, or it is not in use.
        """
        (mode,), (_, _, path) = db.execute("PRAGMA journal_mode").fetchone(), db.execute("PRAGMA database_list").fetchone()
        if mode != "wal":
            raise SessionStoreError(f"expected SQLite to keep a write-ahead log beside {path}, its mode is {mode}; use another file system")
        index = Path(f"{path}-shm")  # beside the file itself, where a link leads to it
        try:
            self._file = index.open("rb")
            self._shared = mmap.mmap(self._file.fileno(), HEADER_BYTES, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise SessionStoreError(f"expected an index of SQLite's log at {index}, it cannot be read ({error})") from error
        if not self._shared[INITIALISED]:
            raise SessionStoreError(f"expected an index of SQLite's log at {index}, it is not in use")

    def state(self) -> bytes:
        """Give the state that the file is in now; to be taken before what is remembered with it is read."""
        return self._shared[:]

    def close(self) -> None:
        """Let go of the file."""
        self._shared.close()
        self._file.close()
