"""Training runs in two real processes that meet over loopback."""

import io
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from service.errors import ServiceError
from service.training.meta_train import meta_train
from service.training.processes import joined
from tests.training.runs import After, Heard, tiny_data, tiny_options

RANKS = 2


@dataclass(slots=True)
class Killed:
    """Ends the process, as a full machine would, once this many meta-steps have been taken."""

    steps: int
    asked: int = 0

    def __call__(self) -> bool:
        self.asked += 1
        if self.asked > self.steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return False


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the tiny configuration, changed; a rank stops or is killed after so many steps."""

    folder: Path
    changes: Mapping[str, Any]
    stop: Mapping[int, int]
    kill: Mapping[int, int]
    resume: bool = False


@contextmanager
def two_processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(RANKS, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def started(pool: ProcessPoolExecutor, run: Run) -> list[Future[bytes]]:
    port = free_port()
    return [pool.submit(one_rank, rank, port, run) for rank in range(RANKS)]


def ended(futures: list[Future[bytes]]) -> list[dict[str, Any]]:
    return [torch.load(io.BytesIO(future.result(60)), weights_only=True) for future in futures]


def survivor_of(run: Run, said: Path) -> list[int | None]:
    """Train in processes of which one is killed; gives how they ended, and leaves in a file what error the first one raised.

    Behind it stands how many threads of gloo's were left: one that is at work while the interpreter ends would abort the process.
    """
    context, port = multiprocessing.get_context("spawn"), free_port()
    processes = [context.Process(target=_told_errors, args=(rank, port, run, said)) for rank in range(RANKS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def _told_errors(rank: int, port: int, run: Run, said: Path) -> None:
    raised = ""
    try:
        one_rank(rank, port, run)
    except ServiceError as error:
        raised = f"{error.code}: {error.message}"
    threads = [(task / "comm").read_text(encoding="utf-8") for task in Path("/proc/self/task").iterdir()]
    said.write_text(f"{raised}; {sum('gloo' in name for name in threads)} threads left", encoding="utf-8")


def one_rank(rank: int, port: int, run: Run) -> bytes:
    """Train as one rank of the run; gives what it came to, as torch writes it."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": RANKS, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    heard, options = Heard(), tiny_options(**run.changes)
    should_stop = Killed(run.kill[rank]) if rank in run.kill else After(run.stop.get(rank, 10**9))
    with joined({name: str(value) for name, value in place.items()}, "cpu", patience=timedelta(seconds=30)) as processes:
        trained = meta_train(
            options, tiny_data(), run.folder, reporter=heard, resume=run.resume, should_stop=should_stop, processes=processes
        )
    found = io.BytesIO()
    said = {"gradients": [dict(each.gradients) for each in heard.outcomes], "losses": [each.loss for each in heard.outcomes]}
    best = {} if trained is None else {**asdict(trained.best), "params": dict(trained.best.params)}
    torch.save({**said, "accuracies": [each.accuracy for each in heard.outcomes], "best": best, "validated": heard.validated_at}, found)
    return found.getvalue()
