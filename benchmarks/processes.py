"""Servers as processes: started on a loopback port, paused while it is another's turn, watched and stopped by process id."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

READY_WITHIN = 180.0  # seconds: loading PyTorch in several processes on a busy machine
STOPPED_WITHIN = 15.0
TICKS = os.sysconf("SC_CLK_TCK")


class ServerError(RuntimeError):
    """A server ended, or did not become ready; says what it printed last."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What the kernel says of one process: when it started tells it from a later one of the same id."""

    parent: int
    started: int
    cpu_seconds: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and the processes that it started."""

    process: subprocess.Popen[bytes]
    port: int

    def tree(self) -> dict[int, Stat]:
        """Give every process of the server by its id."""
        known, found = _processes(), {self.process.pid}
        while more := {pid for pid, stat in known.items() if stat.parent in found} - found:
            found |= more
        return {pid: known[pid] for pid in found if pid in known}

    def cpu_seconds(self) -> float:
        """Give the CPU time that the server has used."""
        return sum(stat.cpu_seconds for stat in self.tree().values())

    def resident_bytes(self) -> int:
        """Give the memory that its processes hold; pages they share count once for each."""
        return sum(stat.resident_bytes for stat in self.tree().values())

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let a paused server run while the block lasts."""
        self.send(signal.SIGCONT)
        try:
            yield
        finally:
            self.send(signal.SIGSTOP)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to every process of the server."""
        _send(self.tree(), number)

    def stop(self) -> None:
        """End the server and whatever it started."""
        tree = self.tree()
        _send(tree, signal.SIGCONT)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOPPED_WITHIN)
        now = _processes()
        _send([pid for pid, stat in tree.items() if pid in now and now[pid].started == stat.started], signal.SIGKILL)
        self.process.wait(STOPPED_WITHIN)


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _processes() -> dict[int, Stat]:
    """Read all of /proc."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = _stat((entry / "stat").read_text(encoding="utf-8", errors="replace"))
    return found


def _stat(line: str) -> Stat:
    """Read a line of /proc/<pid>/stat; the name, in brackets, may hold anything. CPU time includes that of children which ended."""
    fields = line.rpartition(")")[2].split()
    return Stat(int(fields[1]), int(fields[19]), sum(map(int, fields[11:15])) / TICKS, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))


@contextlib.contextmanager
def running(command: Sequence[str], settings: Mapping[str, str], *, ready: str, log: Path) -> Iterator[Server]:
    """Start a server, `{port}` in its command and settings a free loopback port; it is stopped when the block ends.

    Raises:
        ServerError: it ended, or was not ready in time.
    """
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INNERLOOP_")}
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - the servers that we measure
            [part.format(port=port) for part in command], env={**kept, **settings}, stdout=out, stderr=subprocess.STDOUT
        )
    server = Server(process, port)
    try:
        _wait_until_ready(server, ready, log)
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """Give a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(server: Server, path: str, log: Path) -> None:
    give_up = time.monotonic() + READY_WITHIN
    while server.process.poll() is None and time.monotonic() < give_up:
        if _answers(server.port, path):
            return
        time.sleep(0.1)
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise ServerError(f"the server was not ready within {READY_WITHIN:.0f} s (exit {server.process.poll()}):\n{said}")


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
