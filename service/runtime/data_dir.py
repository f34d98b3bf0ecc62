"""The folder for the server's own files: one server at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import DataDirectoryError


@contextmanager
def exclusive(folder: Path) -> Iterator[Path]:
    """Make the folder when it is missing, and hold it until the end; the lock goes with the process, even a killed one.

    Raises:
        DataDirectoryError: it cannot be written to, or another server holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "server.lock").open("a+", encoding="ascii")
    except OSError as error:
        raise DataDirectoryError(f"{folder}: the data directory cannot be used ({error.strerror}); give another with --data-dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise DataDirectoryError(
                f"{folder}: another server holds this data directory (process {lock.read() or 'unknown'}); give another with --data-dir"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield folder
