"""A real server process, found by the address that it prints."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
INNERLOOP = Path(sys.executable).with_name("innerloop")
READY_WITHIN = 120.0  # seconds: loading PyTorch on a busy machine
STOPPED_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has said that it is ready."""

    process: subprocess.Popen[bytes]
    url: str
    out: Path
    log: Path
    data_dir: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def logged(self) -> list[dict[str, Any]]:
        """Every line of its log, each of which is one JSON object."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def errors(self) -> list[dict[str, Any]]:
        """What went wrong, but for the damaged meta-model of its store."""
        return [line for line in self.logged() if line["level"] == "error" and line["event"] != "model refused"]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, and give its exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOPPED_WITHIN)


def environment(**settings: object) -> dict[str, str]:
    """This process's environment with these settings, and no others of Innerloop's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INNERLOOP_")}
    settings = {"device": "cpu", "torch_threads": 1, **settings}
    return kept | {f"INNERLOOP_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def running(folder: Path, model_store: Path, **settings: object) -> Iterator[Server]:
    """Start a server with its files in a folder; it is stopped, by its process id, when the block ends."""
    out, log, data_dir = folder / "out", folder / "log", folder / "data"
    with out.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(
            [INNERLOOP, "serve", "--port", "0", "--model-store", model_store, "--data-dir", data_dir],
            cwd=ROOT,
            env=environment(**settings),
            stdout=stdout,
            stderr=stderr,
        )
    try:
        yield Server(process, _printed_url(process, out, log), out, log, data_dir)
    finally:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN)
        finally:
            process.kill()


def _printed_url(process: subprocess.Popen[bytes], out: Path, log: Path) -> str:
    give_up = time.monotonic() + READY_WITHIN
    while process.poll() is None and time.monotonic() < give_up:
        found = re.search(r"at (http://\S+) ", out.read_text())
        if found:
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"no address printed within {READY_WITHIN:.0f} s (exit {process.poll()}):\n{log.read_text()}")
