"""What keeping sessions costs: few and a million in one SQLite file, cold and in use, durable creation, memory.

Usage: python -m benchmarks.sessions omniglot --model-store benchmarks/model_store --data-root FOLDER [--many 1000000]
Large stores are filled through the store itself: the weights of adapted tasks, two numbers of them changed by millionths, so that no
two are alike. Writes benchmarks/results/sessions-<name>-<version>-cpu.json and prints the figures.
"""

import asyncio
import json
import multiprocessing
import resource
import struct
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks import drawings, sides
from benchmarks.drawings import Drawn
from benchmarks.load import Closed, Once, Outcome, Plan, drive
from benchmarks.processes import Server, running
from benchmarks.subject import SEED, Subject, find_subject, processor
from service.sessions.contents import digest, pack_weights, unpack_weights
from service.sessions.hot import HotWeights
from service.sessions.session import Revision, Session, new_session_id
from service.sessions.sqlite.sqlite_store import SqliteStore
from service.sessions.store import Contents

AT_ONCE = 256  # writes that share a commit
ASKED = 300  # sessions in one round
HOT = 100_000
QUOTA = 2**36
STEP = 1e-6


@dataclass(frozen=True, slots=True)
class Template:
    """One adapted task, to make sessions of."""

    drawn: Drawn
    session: Session
    packed: bytes

    def numbered(self, number: int) -> tuple[Session, Contents]:
        """Give a session of its own: the last two numbers of its weights differ by millionths."""
        packed, now = bytearray(self.packed), datetime.now(UTC)
        last = struct.unpack_from("<2f", packed, len(packed) - 8)
        struct.pack_into("<2f", packed, len(packed) - 8, last[0] + STEP * (number // 1024), last[1] + STEP * (number % 1024))
        revision = replace(self.session.revision, weights_digest=digest(bytes(packed)))
        made = replace(self.session, id=new_session_id(now), revision=revision, created_at=now, expires_at=now + timedelta(days=7))
        return made, Contents(bytes(packed), None)


@dataclass(frozen=True, slots=True)
class Filled:
    """A store's folder, some of its sessions with their task, and how it came about."""

    folder: Path
    known: Sequence[tuple[str, Drawn]]
    count: int
    created_a_second: float

    @property
    def bytes_a_session(self) -> float:
        """Size of the file over its sessions, once the log has been emptied into it."""
        return sum(file.stat().st_size for file in self.folder.glob("sessions.sqlite3*")) / self.count


@dataclass(frozen=True, slots=True)
class Bench:
    """What the measurements share."""

    subject: Subject
    drawn: Sequence[Drawn]
    folder: Path
    model_store: Path
    rounds: int
    generator: ProcessPoolExecutor

    def server(self, folder: Path, **settings: str) -> tuple[sides.Side, sides.Variant]:
        """Give our server over a folder, one thread and everything on one core."""
        side = sides.ours(self.model_store, folder, "cpu")
        variant = side.variants[0]
        told = {f"INNERLOOP_{name}": value for name, value in {"STORE": "sqlite", "STORE_BYTES": str(QUOTA), **settings}.items()}
        return side, replace(variant, settings={**variant.settings, **told})

    def drive(self, server: Server, plan: Plan) -> Outcome:
        """Ask, from another process; every answer must be right."""
        with server.awake():
            outcome = self.generator.submit(drive, plan).result()
        if outcome.lost or set(outcome.statuses) - {200, 201} or outcome.wrong > 1 + outcome.answered // 100:
            raise RuntimeError(f"expected right answers, got {outcome.wrong} wrong, {outcome.lost} lost, {dict(outcome.statuses)}")
        return outcome


def template(subject: Subject, drawn: Drawn) -> Template:
    """Adapt to a task, as a server would."""
    adapted = drawings.adapted(subject, drawn)
    losses, packed = adapted.losses, pack_weights(adapted.params)
    now, labels = datetime.now(UTC), tuple(sorted({label for label, _ in drawn.support}))
    revision = Revision(1, digest(packed), labels, (1,) * len(labels), "head", len(losses) - 1, losses, None, now)
    sha256 = subject.stored.manifest.weights.sha256
    return Template(drawn, Session("", "default", None, subject.reference, sha256, revision, now, now, keeps_support=False), packed)


def fill(bench: Bench, count: int) -> Filled:
    """Make a store of so many sessions."""
    folder = bench.folder / f"store-{count}"
    folder.mkdir()
    templates = [template(bench.subject, drawn) for drawn in bench.drawn]
    wanted = set(np.random.default_rng(SEED).choice(count, min(count, 2 * ASKED * bench.rounds), replace=False).tolist())
    known: list[tuple[str, Drawn]] = []

    async def work() -> None:
        numbers = iter(range(count))
        async with SqliteStore(folder / "sessions.sqlite3", clock=lambda: datetime.now(UTC), quota_bytes=QUOTA) as store:
            while some := list(islice(numbers, AT_ONCE)):
                made = [(number, *templates[number % len(templates)].numbered(number)) for number in some]
                await asyncio.gather(*(store.create(session, contents) for _, session, contents in made))
                known.extend((each.id, templates[number % len(templates)].drawn) for number, each, _ in made if number in wanted)

    began = time.perf_counter()
    asyncio.run(work())
    np.random.default_rng(SEED).shuffle(known)
    return Filled(folder, known, count, count / (time.perf_counter() - began))


def predictions(bench: Bench, stores: Sequence[Filled]) -> list[dict[str, Any]]:
    """Ask random sessions of every store for the first time, then again; the stores take turns."""
    rows = []
    with ExitStack() as stack:
        live = []
        for filled in stores:
            side, variant = bench.server(filled.folder)
            server = stack.enter_context(running(variant.command, variant.settings, ready=side.ready, log=filled.folder / "server.log"))
            live.append((filled, side, server))
        for turn in range(bench.rounds):
            for filled, side, server in live:
                some = filled.known[turn * ASKED : (turn + 1) * ASKED]
                asked = [side.predict(session, drawn.questions[0]) for session, drawn in some]
                for state in ("cold", "resident"):
                    outcome = bench.drive(server, Plan(server.port, asked, sides.LABEL, Once(1)))
                    p50, p99 = np.percentile(outcome.latencies, (50, 99)).round(3).tolist()
                    rows.append({"sessions": filled.count, "state": state, "round": turn, "p50_ms": p50, "p99_ms": p99})
    return rows


def creations(bench: Bench, seconds: float) -> list[dict[str, Any]]:
    """Create sessions, kept in memory and on disk in turns."""
    rows = []
    with ExitStack() as stack:
        live = []
        for store in ("memory", "sqlite"):
            folder = bench.folder / f"creating-{store}"
            side, variant = bench.server(folder, STORE=store)
            live.append(
                (
                    store,
                    side,
                    stack.enter_context(running(variant.command, variant.settings, ready=side.ready, log=bench.folder / f"{store}.log")),
                )
            )
        for clients in (1, 8, 64):
            for turn in range(bench.rounds):
                for store, side, server in live:
                    asked = [side.create(bench.subject.reference, drawn) for drawn in bench.drawn]
                    outcome = bench.drive(server, Plan(server.port, asked, sides.SESSION, Closed(clients, seconds)))
                    p50, p99 = np.percentile(outcome.latencies, (50, 99)).round(3).tolist()
                    rate = round(outcome.right / outcome.seconds, 1)
                    rows.append({"store": store, "clients": clients, "round": turn, "rate": rate, "p50_ms": p50, "p99_ms": p99})
    return rows


def hot_bytes(bench: Bench) -> dict[str, float]:
    """Hold many adapted heads in a process's memory, as a server does, and see what they take."""
    templates = [template(bench.subject, drawn) for drawn in bench.drawn]
    hot = HotWeights(budget_bytes=QUOTA)

    async def work() -> None:
        for number in range(HOT):
            session, contents = templates[number % len(templates)].numbered(number)
            name = session.revision.weights_digest

            async def load(packed: bytes = contents.weights, name: str = name) -> dict[str, torch.Tensor]:
                return unpack_weights(packed, weights_digest=name)

            await hot.acquire(name, load)
            hot.release(name)

    before = _resident()
    asyncio.run(work())
    return {"heads": HOT, "resident_mib": round((_resident() - before) / 2**20, 1), "counted_mib": round(hot.size_bytes / 2**20, 1)}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def median(rows: Sequence[dict[str, Any]], key: str, **which: object) -> float:
    """Give the median over rounds."""
    return float(np.median([row[key] for row in rows if all(row[name] == value for name, value in which.items())]))


def lines(result: dict[str, Any]) -> list[str]:
    """Say it in Markdown."""
    asked, made = result["predictions"], result["creations"]
    counts = sorted({row["sessions"] for row in asked})
    table = ["| sessions in the file | bytes a session | cold p50 | resident p50 |", "| ---: | ---: | ---: | ---: |"]
    for count in counts:
        size = result["stores"][str(count)]["bytes_a_session"]
        cold, warm = (median(asked, "p50_ms", sessions=count, state=state) for state in ("cold", "resident"))
        table.append(f"| {count:,} | {size:,.0f} | {cold:.2f} ms | {warm:.2f} ms |")
    table += [
        "",
        "| clients | in memory, p50 | durable, p50 | in memory, a second | durable, a second |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for clients in sorted({row["clients"] for row in made}):
        p50 = [median(made, "p50_ms", store=store, clients=clients) for store in ("memory", "sqlite")]
        rate = [median(made, "rate", store=store, clients=clients) for store in ("memory", "sqlite")]
        table.append(f"| {clients} | {p50[0]:.2f} ms | {p50[1]:.2f} ms | {rate[0]:.0f} | {rate[1]:.0f} |")
    return [*table, "", f"{result['hot']['heads']:,} heads in memory: {result['hot']['resident_mib']:,} MiB"]


def main(
    model: str,
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    model_store: Path = Path("model_store"),
    counts: Annotated[list[int] | None, typer.Option("--count", help="Sessions in a file. [default: 1000, 100000, 1000000]")] = None,
    rounds: int = 3,
    seconds: Annotated[float, typer.Option(help="Creating, for one server in one round.")] = 3.0,
) -> None:
    """Measure; about a quarter of an hour with a million sessions."""
    subject = find_subject(model_store, model)
    drawn = drawings.draw(subject, data_root, way=5, shot=1, count=100)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as generator:
        bench = Bench(subject, drawn, Path(folder), model_store, rounds, generator)
        stores = [fill(bench, count) for count in counts or (1_000, 100_000, 1_000_000)]
        told = {
            str(each.count): {"bytes_a_session": round(each.bytes_a_session), "created_a_second": round(each.created_a_second)}
            for each in stores
        }
        result = {
            **subject.provenance,
            "device_name": processor(),
            "torch": str(torch.__version__),
            "rounds": rounds,
            "asked": ASKED,
            "stores": told,
            "predictions": predictions(bench, stores),
            "creations": creations(bench, seconds),
            "hot": hot_bytes(bench),
        }
    subject.results("sessions", torch.device("cpu")).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    typer.echo("\n".join(lines(result)))


if __name__ == "__main__":
    typer.run(main)
