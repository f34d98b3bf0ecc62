"""Kill a whole server under load, again and again: every session that it acknowledged must answer as before.

`python -m tests.e2e.crash --rounds 10`; the store alone is killed more often by tests.sessions.crash.
"""

import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import typer

from tests.api.forms import QUERIES, Task, as_json
from tests.e2e.server import Server, running
from tests.tiny import SHAPES, drawing, png, write_tiny

CALLERS = 4
# A round's load before the kill.
SHORTEST, LONGEST = 0.3, 1.5
SAMPLE = 40  # of the sessions of earlier rounds, asked again after each kill

ASKED = as_json(Task(queries=QUERIES), top_k=5)


@dataclass(slots=True)
class Book:
    """What was acknowledged: the newest state of every session, and what it answered."""

    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[tuple[str, int], list[Any]] = field(default_factory=dict)
    # Asked for, and not heard of: a change after the last acknowledged one may be there or not.
    open: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    checked: int = 0


def load(server: Server, book: Book, chance: random.Random) -> None:
    """Create, grow, ask and delete until the server is gone."""
    with httpx2.Client(base_url=server.url, timeout=20) as client:
        try:
            while True:
                _live(client, book, chance)
        except (httpx2.TransportError, KeyError):  # KeyError: half an answer
            return


def _live(client: httpx2.Client, book: Book, chance: random.Random) -> None:
    """One session's life."""
    made = client.post("/v1/sessions", **as_json(_examples(chance, SHAPES[:3]))).json()
    session = made["session"]
    book.sessions[session] = made
    _ask(client, book, made)
    for _ in range(chance.randint(0, 3)):
        book.open[session] = "grow"
        made = client.post(f"/v1/sessions/{session}/examples", **as_json(_examples(chance, SHAPES))).json()
        book.sessions[session] = made
        _ask(client, book, made)
        del book.open[session]
    if chance.random() < 0.1:
        book.open[session] = "delete"
        client.delete(f"/v1/sessions/{session}")
        del book.sessions[session], book.open[session]


def _ask(client: httpx2.Client, book: Book, made: dict[str, Any]) -> None:
    answer = client.post(f"/v1/sessions/{made['session']}/predict", **ASKED).json()
    book.answers[made["session"], made["revision"]] = answer["predictions"]


def check(server: Server, book: Book, sessions: Sequence[str]) -> None:
    """Look at sessions after a restart: the same state, or the one change that was under way; the same answers."""
    with httpx2.Client(base_url=server.url, timeout=20) as client:
        for session in sessions:
            known, under_way = book.sessions[session], book.open.pop(session, None)
            found = client.get(f"/v1/sessions/{session}")
            if found.status_code == 410 and under_way == "delete":
                del book.sessions[session]
                continue
            now = found.json()
            if (now.get("revision"), now.get("weights_digest")) != (known["revision"], known["weights_digest"]):
                if under_way != "grow" or now.get("revision") != known["revision"] + 1:
                    book.wrong.append(f"{session}: expected revision {known['revision']}, found {found.status_code} {now}")
                    continue
                book.sessions[session] = now
            _compare(client, book, session, known["revision"])


def _compare(client: httpx2.Client, book: Book, session: str, revision: int) -> None:
    answer = client.post(f"/v1/sessions/{session}/predict", **as_json(Task(queries=QUERIES), top_k=5, revision=revision)).json()
    before = book.answers.get((session, revision))
    if before is not None and not _same(before, answer.get("predictions", [])):
        book.wrong.append(f"{session}, revision {revision}: expected {before}, got {answer}")
    book.checked += 1


def _same(before: Sequence[Any], after: Sequence[Any]) -> bool:
    """Whether every label has its score, to the last digits that depend on who shared a batch."""
    scores = [[{each["label"]: each["score"] for each in one["top"]} for one in side] for side in (before, after)]
    return len(before) == len(after) and all(
        one.keys() == other.keys() and all(abs(one[label] - other[label]) < 1e-5 for label in one)
        for one, other in zip(*scores, strict=True)
    )


def _examples(chance: random.Random, shapes: Sequence[str]) -> Task:
    return Task(tuple((shape, png(drawing(shape, width=chance.randint(2, 6), shift=chance.randint(-4, 4)))) for shape in shapes))


def crash(folder: Path, *, rounds: int, seed: int) -> Book:
    """Start, load and kill a server so many times over one data directory, and look at what is there each time."""
    chance, book = random.Random(seed), Book()  # noqa: S311 - only the order of events depends on it
    write_tiny(folder / "models", "omniglot")
    for turn in range(rounds + 1):
        fresh = list(book.sessions)[-SAMPLE:]
        with running(folder, folder / "models", session_ttl_seconds=86_400) as server:
            check(server, book, [*book.open, *(each for each in fresh if each not in book.open)])
            if turn == rounds:
                check(server, book, list(book.sessions))
                return book
            callers = [threading.Thread(target=load, args=(server, book, random.Random(chance.random()))) for _ in range(CALLERS)]  # noqa: S311
            for caller in callers:
                caller.start()
            time.sleep(chance.uniform(SHORTEST, LONGEST))
            server.process.kill()
            for caller in callers:
                caller.join()
    return book


def main(rounds: int = 10, seed: int = 0) -> None:
    """Crash, then count."""
    with tempfile.TemporaryDirectory() as folder:
        book = crash(Path(folder), rounds=rounds, seed=seed)
    typer.echo(f"{rounds} kills, {len(book.sessions):,} sessions acknowledged and there, {book.checked:,} answers compared")
    sys.exit("\n".join(book.wrong[:20]) if book.wrong else 0)


if __name__ == "__main__":
    typer.run(main)
