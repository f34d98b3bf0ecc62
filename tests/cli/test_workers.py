import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from service.cli import worker
from service.cli.workers import LOST_IN_A_ROW, Refused, Workers
from service.config import Settings
from service.errors import WorkersError
from tests.cli import toy_workers
from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]
Toy = Callable[[Path, int, Connection], None]
WITHIN = 60.0  # seconds: starting Python on a busy machine


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Leave this process's signals as they were."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def notes(folder: Path) -> dict[int, dict[str, Any]]:
    """What every worker that was ever started knew, by its process id."""
    return {int(path.name): json.loads(path.read_text()) for path in folder.iterdir() if path.name.isdigit() and path.read_text()}


def runs(process: int) -> bool:
    """Whether a process is there, and not only waits to be reaped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(process: int) -> bool:
    return not runs(process)


def tell(number: signal.Signals) -> None:
    """Tell the process that runs workers, which is this one."""
    os.kill(os.getpid(), number)


def nothing() -> None: ...


def run(folder: Path, toy: Toy, when_ready: Callable[[], None] = nothing) -> list[str]:
    """Run two workers, do something beside when they are ready, tell them to end, and give what was said."""
    said: list[str] = []

    def act() -> None:
        try:
            when_ready()
        finally:
            tell(signal.SIGTERM)

    beside = Thread(target=act)

    def say(greeting: str) -> None:
        said.append(greeting)
        beside.start()

    Workers(2, partial(toy, folder), metrics=folder / "metrics", say=say).run()
    beside.join()
    return said


def test_workers_greet_once_and_end_when_they_are_told_to(folder: Path) -> None:
    said = run(folder, toy_workers.serving)
    assert said in (["hello from 0"], ["hello from 1"])
    known = notes(folder)
    assert sorted(note["number"] for note in known.values()) == [0, 1]
    assert all((folder / f"{process}.ended").exists() for process in known)


def test_workers_leave_ctrl_c_to_the_process_that_started_them(folder: Path) -> None:
    run(folder, toy_workers.serving, lambda: tell(signal.SIGINT))
    assert all(note["deaf to Ctrl+C"] for note in notes(folder).values())
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_workers_share_a_folder_for_metrics_that_goes_with_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/somewhere/else")
    left = folder / "metrics" / "counter_1.db"  # by a server that was killed
    left.parent.mkdir()
    left.touch()
    run(folder, toy_workers.serving, lambda: until(lambda: not left.exists()))
    assert {note["metrics"] for note in notes(folder).values()} == {str(folder / "metrics")}
    assert not (folder / "metrics").exists()
    assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == "/somewhere/else"


def test_a_worker_that_is_killed_is_replaced_and_logged(folder: Path) -> None:
    def kill_one() -> None:
        first, second = notes(folder)
        os.kill(first, signal.SIGKILL)
        until(lambda: len(notes(folder)) == 3)
        assert not (folder / f"{second}.ended").exists()

    with capture_logs() as log:
        said = run(folder, toy_workers.serving, kill_one)
    assert len(said) == 1
    [ended] = [line for line in log if line["event"] == "worker ended"]
    assert (ended["status"], ended["log_level"]) == (-signal.SIGKILL, "warning")
    known = notes(folder)
    assert known[ended["process"]]["number"] == ended["worker"]
    assert sorted(note["number"] for process, note in known.items() if process != ended["process"]) == [0, 1]


def test_a_replacement_that_is_killed_before_it_is_ready_is_replaced_too(folder: Path) -> None:
    def kill_one() -> None:
        os.kill(next(iter(notes(folder))), signal.SIGKILL)
        until(lambda: len(notes(folder)) == 3 + LOST_IN_A_ROW)

    said = run(folder, partial(toy_workers.dying_young, LOST_IN_A_ROW), kill_one)
    assert len(said) == 1


def test_replacements_are_not_tried_for_ever(folder: Path) -> None:
    def kill_one(_: str) -> None:
        os.kill(next(iter(notes(folder))), signal.SIGKILL)

    work = partial(toy_workers.dying_young, 100, folder)
    with pytest.raises(WorkersError, match="ended with status -9 before it was ready"):
        Workers(2, work, metrics=folder / "metrics", say=kill_one).run()
    assert len(notes(folder)) == 3 + LOST_IN_A_ROW
    assert not any(map(runs, notes(folder)))


@pytest.mark.parametrize(
    ("toy", "reason"),
    [(toy_workers.refusing, "no room for a second"), (toy_workers.breaking, "worker 1 ended with status 7 before it was ready")],
)
def test_a_worker_that_cannot_start_ends_all_and_is_not_tried_again(folder: Path, toy: Toy, reason: str) -> None:
    with pytest.raises(WorkersError, match=reason):
        run(folder, toy, lambda: pytest.fail("nobody serves"))
    assert len(notes(folder)) <= 2  # the other may have been ended before it left its note
    assert not any(map(runs, notes(folder)))


def test_a_second_ctrl_c_ends_workers_that_do_not_end(folder: Path) -> None:
    def insist() -> None:
        tell(signal.SIGINT)
        time.sleep(0.5)
        assert all(map(runs, notes(folder)))
        tell(signal.SIGINT)

    assert run(folder, toy_workers.deaf, insist) == ["hello"]


def test_workers_end_with_a_parent_that_is_killed(folder: Path) -> None:
    code = f"from pathlib import Path; from tests.cli import toy_workers; toy_workers.run(Path({str(folder)!r}))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as parent:
        until((folder / "ready").exists)
        parent.kill()
    for process in notes(folder):
        until(partial(ended, process))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_store: Path) -> Path:
    """Settings with which two workers would start; gives the data directory."""
    environment = {"DATA_DIR": tmp_path / "data", "MODEL_STORE": model_store, "DEVICE": "cpu", "PORT": 0, "WORKERS": 2}
    for name, value in environment.items():
        monkeypatch.setenv(f"INNERLOOP_{name}", str(value))
    return tmp_path / "data"


def refusal(command: Command, *options: object) -> str:
    result = command("serve", *map(str, options))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
    return result.stderr


def test_workers_that_would_each_have_sessions_of_their_own_are_refused(command: Command, settings: Path) -> None:
    said = refusal(command, "--workers", 2, "--store", "memory")
    assert said.startswith("Error: 2 workers need a session store that they share")
    assert "--store sqlite" in said
    assert not settings.exists()


def test_workers_on_a_cuda_device_are_refused(command: Command, settings: Path) -> None:
    assert "expected one worker on cuda:0" in refusal(command, "--device", "cuda:0")
    assert not settings.exists()


def test_workers_on_a_cuda_device_that_auto_finds_refuse_to_start(
    command: Command, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command is not None  # it leaves logs as they were
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    hearing, telling = Pipe(duplex=False)
    with hearing, telling:
        with pytest.raises(SystemExit):
            worker.work(Settings(device="auto"), [], 0, telling)
        said = hearing.recv()
    assert isinstance(said, Refused)
    assert "expected one worker on cuda:0" in said.reason
    assert not settings.exists()


def test_workers_on_an_address_that_is_taken_are_refused_before_one_starts(command: Command, settings: Path) -> None:
    assert settings is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert f"cannot listen on 127.0.0.1 port {port} (address already in use)" in refusal(command, "--port", port)
