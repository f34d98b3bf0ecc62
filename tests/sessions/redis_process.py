"""A Redis server of the tests' own, on a free port of this machine; skipped where redis-server is not installed."""

import atexit
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

STARTED_WITHIN = 20.0
SETTINGS = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}


class RedisProcess:
    """One server and its folder; it can be killed, paused and started again on the same port, and ends by its process id."""

    def __init__(self, folder: Path, **settings: str) -> None:
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
        self._folder = folder
        self._settings = {**SETTINGS, **{name.replace("_", "-"): value for name, value in settings.items()}}
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        options = {"port": str(self._port), "bind": "127.0.0.1", "dir": str(self._folder), "logfile": "log", **self._settings}
        words = [word for name, value in options.items() for word in (f"--{name}", *value.split(" "))]
        self._process = subprocess.Popen(["redis-server", *words])
        give_up = time.monotonic() + STARTED_WITHIN
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended; its output says why"
            assert time.monotonic() < give_up, (self._folder / "log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self._process is not None:
            self.resume()
            self._end(signal.SIGTERM)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """A plain client, to look at the server from the side. Close it."""
        return redis.Redis(port=self._port, retry=Retry(NoBackoff(), 0))

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:  # Also while it reads its file.
                return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(STARTED_WITHIN)
        self._process = None


@contextmanager
def redis_process(**settings: str) -> Iterator[RedisProcess]:
    """Start a server in a folder of its own; both are gone when the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        process = RedisProcess(Path(folder), **settings)
        try:
            process.start()
            yield process
        finally:
            process.stop()


@cache
def shared_redis() -> RedisProcess:
    """One server for all tests that leave it as it was."""
    running = redis_process()
    process = running.__enter__()
    atexit.register(running.__exit__, None, None, None)
    return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
