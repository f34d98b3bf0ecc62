"""Whether anything was committed to the file since: seen in the memory that SQLite's processes share, without asking SQLite."""

import mmap
from pathlib import Path

HEADER_BYTES = 48


class Commits:
    """The state that a file is in: while it stays equal, no process has committed anything.

    It is the header of the WAL index, by which every connection of SQLite sees whether its own cache still holds: a counter in it and
    its checksum change with every commit. Asking SQLite instead takes system calls and hands over the interpreter lock, which cost a
    prediction a tenth.

    Source: https://www.sqlite.org/walformat.html, section 2.1.
    """

    def __init__(self, index: Path) -> None:
        self._file = index.open("rb")
        self._shared = mmap.mmap(self._file.fileno(), HEADER_BYTES, access=mmap.ACCESS_READ)

    @classmethod
    def of(cls, database: Path) -> "Commits | None":
        """Watch a file that a connection of this process has open; None where SQLite keeps no log, because the file system cannot."""
        index = Path(f"{database}-shm")
        return cls(index) if index.exists() else None

    def state(self) -> bytes:
        """Give the state that the file is in now; to be taken before what is remembered with it is read."""
        return self._shared[:]

    def close(self) -> None:
        """Let go of the file, after the last connection: POSIX gives up a process's locks on a file with the first descriptor it closes."""
        self._shared.close()
        self._file.close()
