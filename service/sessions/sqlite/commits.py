"""Whether anything was committed to the file since: seen in the memory that SQLite's processes share, without asking SQLite."""

import mmap
from pathlib import Path

HEADER_BYTES = 48


class Commits:
    """The state that a file is in: while it stays equal, no process has committed anything.

    It is the header of the WAL index, by which every connection of SQLite sees whether its own cache still holds; all of it changes
    under a commit. Asking SQLite instead takes system calls and hands over the interpreter lock, which cost a prediction a tenth.

    Source: https://www.sqlite.org/walformat.html, section 2.1.
    """

    def __init__(self, database: Path) -> None:
        """To be made while a connection is open, and closed after the last of this process: see `close`."""
        self._file = Path(f"{database}-shm").open("rb")  # noqa: SIM115 - see `close`
        self._shared = mmap.mmap(self._file.fileno(), HEADER_BYTES, access=mmap.ACCESS_READ)

    def state(self) -> bytes:
        """Give the state that the file is in now; to be taken before what is remembered with it is read."""
        return self._shared[:]

    def close(self) -> None:
        """Let go of the file; POSIX gives up all locks of a process on a file with the first descriptor that it closes."""
        self._shared.close()
        self._file.close()
