"""A bar for work that takes long enough to wonder about, on stderr, and only where somebody looks."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from innerloop.inputs import Input

_WORTH_A_BAR = 50  # files
_TICK = 0.25  # seconds


@dataclass(frozen=True, slots=True)
class ReadPath(os.PathLike[str]):
    """A path that tells when it is used: files are read when their part of a request is made."""

    path: Path
    tell: Callable[[], None]

    def __fspath__(self) -> str:
        self.tell()
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class ReadBytes:
    """Bytes that tell when they are used."""

    content: bytes
    tell: Callable[[], None]

    def read(self) -> bytes:
        self.tell()
        return self.content


@contextmanager
def bar(doing: str, *, total: float) -> Iterator[Callable[[float], None]]:
    """How much more is done is told to what this gives; nothing is shown on anything but a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda more: progress.update(task, advance=more)


@contextmanager
def ticking(doing: str, *, seconds: float) -> Iterator[None]:
    """A bar that time moves, for work that lasts as long as it was told to."""
    over = Event()

    def tick() -> None:
        last = time.monotonic()
        while not over.wait(_TICK):
            last, before = time.monotonic(), last
            advance(last - before)

    with bar(doing, total=seconds) as advance:
        thread = Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def reading_support(support: Mapping[str, Sequence[Path | bytes]]) -> Iterator[dict[str, list[Input]]]:
    """The support set, with a bar for the files that have been read and sent."""
    with _watched(sum(map(len, support.values())), "adapting") as watch:
        yield {label: [watch(file) for file in files] for label, files in support.items()}


@contextmanager
def reading_queries(files: Sequence[Input]) -> Iterator[list[Input]]:
    """The queries, with such a bar."""
    with _watched(len(files), "predicting") as watch:
        yield [watch(file) for file in files]


@contextmanager
def _watched(count: int, doing: str) -> Iterator[Callable[[Input], Input]]:
    if count < _WORTH_A_BAR:
        yield lambda file: file
        return
    with bar(doing, total=count) as advance:

        def tell() -> None:
            advance(1)

        def watch(one: Input) -> Input:
            if isinstance(one, bytes):
                return ReadBytes(one, tell)
            return ReadPath(one, tell) if isinstance(one, Path) else one

        yield watch
