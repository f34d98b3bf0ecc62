"""One row of benchmarks/serving.py: a server woken, asked by the generator's process, and watched from outside."""

import contextlib
import itertools
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drawings import Drawn
from benchmarks.load import Closed, Once, Open, Outcome, Plan, drive, poisson
from benchmarks.processes import Server, running
from benchmarks.serving_workloads import OVER_ALL, ZIPF, Workload
from benchmarks.sides import FLOOR, LABEL, SESSION, Side, Variant
from benchmarks.subject import SEED

Row = dict[str, Any]

WARM_UP = 0.3
CHECKED = 32  # of the sessions that a row made, asked afterwards
CREATING = 64  # clients
ALLOWED_WRONG = 0.01  # of the answers: two classes may score alike, and another order of sums then names the other


@dataclass(frozen=True, slots=True)
class Live:
    """A started server, and its sessions in the order of the tasks."""

    side: Side
    variant: Variant
    server: Server
    sessions: list[str]


@dataclass(frozen=True, slots=True)
class Bench:
    """What the measurements of one run share."""

    model: str
    drawn: Sequence[Drawn]
    folder: Path
    seconds: float
    rounds: int
    sessions: int
    slo_ms: float
    numbers: Iterator[int] = field(default_factory=itertools.count)
    # Spawned: the generator inherits no thread of torch.
    generator: ProcessPoolExecutor = field(
        default_factory=lambda: ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")), repr=False
    )

    @property
    def how(self) -> dict[str, Any]:
        """What a result says of how it was measured."""
        told = {"seconds": self.seconds, "rounds": self.rounds, "warm_up": WARM_UP, "sessions": self.sessions, "slo_ms": self.slo_ms}
        return {**told, "tasks": len(self.drawn), "zipf_exponent": ZIPF}

    def close(self) -> None:
        """End the generator's process."""
        self.generator.shutdown()

    @contextlib.contextmanager
    def started(self, side: Side, variant: Variant, *, sessions: int) -> Iterator[Live]:
        """Start a server and make its sessions; it sleeps between measurements."""
        log = self.folder / f"server-{next(self.numbers)}.log"
        with running(variant.command, variant.settings, ready=side.ready, log=log) as server:
            live = Live(side, variant, server, [f"{k:016x}" for k in range(64)] if side.name == FLOOR else [])
            self.grow(live, sessions)
            with server.awake():
                pass
            yield live

    def grow(self, live: Live, count: int) -> Row:
        """Make sessions until there are so many."""
        first = len(live.sessions)
        asked = [live.side.create(self.model, self.drawn[k % len(self.drawn)]) for k in range(first, max(first, count))]
        if not asked:
            return {}
        outcome, row = self._driven(live, Plan(live.server.port, asked, SESSION, Once(CREATING), keep=len(asked)))
        if outcome.right < len(asked):
            raise RuntimeError(f"{live.side.name}: expected {len(asked)} sessions, got {outcome.right}; statuses {dict(outcome.statuses)}")
        live.sessions.extend(name.decode() for _, name in sorted(outcome.named))
        return row

    def measure(self, live: Live, workload: Workload, *, seconds: float | None = None) -> Row:
        """Measure one workload in a closed loop; sessions that it made are then asked what they learned."""
        asked = workload.asked(live.side, self.model, self.drawn, live.sessions)
        pace = Closed(workload.clients, seconds or self.seconds, WARM_UP)
        keep = CHECKED if workload.kind == "adapt" else 0
        outcome, row = self._driven(live, Plan(live.server.port, asked, workload.names, pace, keep))
        made = {"made_wrong": self._wrong_of(live, outcome.named)} if keep and live.side.name != FLOOR else {}
        return self._judged({"workload": workload.name, "clients": workload.clients, **row, **made})

    def measure_open(self, live: Live, *, rate: float, seconds: float | None = None) -> Row:
        """Measure predictions over all sessions that arrive by chance, so many a second."""
        length = WARM_UP + (seconds or self.seconds)
        draws = np.random.default_rng(SEED)
        due = poisson(rate, length, iter(lambda: float(draws.exponential()), None))
        asked = OVER_ALL.asked(live.side, self.model, self.drawn, live.sessions)
        outcome, row = self._driven(live, Plan(live.server.port, asked, LABEL, Open(due, length - WARM_UP, WARM_UP)))
        met = sum(each <= self.slo_ms for each in outcome.latencies)
        # An answer that is wrong or never came is late without end.
        late = sorted([*outcome.latencies, *[float("inf")] * (outcome.wrong + outcome.lost)])
        p99 = late[min(len(late) - 1, int(0.99 * len(late)))] if late else float("inf")
        told = {"arrivals": round(rate, 1), "goodput": round(met / outcome.seconds, 1), "meets_slo": p99 <= self.slo_ms}
        return {
            "workload": f"{OVER_ALL.name}, open",
            **row,
            **told,
            "tail": round(row["p99_ms"] / row["p50_ms"], 2) if row["p50_ms"] else None,
        }

    def _driven(self, live: Live, plan: Plan) -> tuple[Outcome, Row]:
        with live.server.awake():
            used, began = live.server.cpu_seconds(), time.perf_counter()
            outcome = self.generator.submit(drive, plan).result()
            spent, took = live.server.cpu_seconds() - used, time.perf_counter() - began
        return outcome, {"side": live.side.name, "variant": live.variant.name, **_row(outcome, spent, took)}

    def _wrong_of(self, live: Live, named: Sequence[tuple[int, bytes]]) -> int:
        """Count the wrong answers of sessions that a row made."""
        asked = [live.side.predict(name.decode(), question) for number, name in named for question in self.drawn[number].questions]
        outcome, _ = self._driven(live, Plan(live.server.port, asked, LABEL, Once(8)))
        return outcome.wrong + outcome.lost

    def _judged(self, row: Row) -> Row:
        """Refuse a row whose answers are not those of the meta-model."""
        answers, wrong = row["right"] + row["wrong"], row["wrong"] + row.get("made_wrong", 0)
        if wrong > 1 + ALLOWED_WRONG * answers:
            raise RuntimeError(
                f"{row['side']}: {row['workload']}: {wrong} of {answers} answers are not the meta-model's; {row['statuses']}"
            )
        return row


def _row(outcome: Outcome, spent: float, took: float) -> Row:
    """Lay out what was seen; rates count right answers only."""
    p50, p95, p99 = np.percentile(outcome.latencies, (50, 95, 99)).round(3).tolist() if outcome.latencies else (0.0, 0.0, 0.0)
    return {
        "rate": round(outcome.right / outcome.seconds, 1),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "right": outcome.right,
        "wrong": outcome.wrong,
        "lost": outcome.lost,
        "statuses": dict(outcome.statuses),
        "server_cpu_ms": round(1000 * spent / max(1, outcome.answered), 4),
        "server_cores": round(spent / took, 3),
        "generator_core_share": round(outcome.busy, 3),
    }
