"""The server, side by side with what a user would run instead: the same meta-model, the same bodies, one machine, in one run.

Usage: python -m benchmarks.serving omniglot --model-store benchmarks/model_store --data-root FOLDER [--seconds 5] [--rounds 3]
LitServe lives in an environment made as benchmarks/peers/serving-requirements.txt says; without it, it is reported as absent.
Every server is started with each of its variants and keeps the best; then all of them wait, and take turns row by row.
Writes benchmarks/results/serving-<name>-<version>-<device>.json and prints Markdown tables.
"""

import importlib.util
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks import drawings, floors, sides
from benchmarks.serving_growth import growth
from benchmarks.serving_rows import Bench, Live, Row
from benchmarks.serving_tables import lines
from benchmarks.serving_workloads import ADAPTING, EMPTY, OVER_ALL, PREDICTING, WORKLOADS, Workload
from benchmarks.subject import Subject, find_subject, processor

FRACTIONS = tuple(tenths / 10 for tenths in range(2, 13))  # of what 64 waiting clients get
AT_KNEE = 0.7


def choose(bench: Bench, side: sides.Side) -> tuple[sides.Variant, list[Row]]:
    """Try every variant of a server; the best has the largest product of adaptations and predictions a second."""
    tried = []
    for variant in side.variants:
        with bench.started(side, variant, sessions=64) as live:
            tried.append([bench.measure(live, workload, seconds=bench.seconds / 2) for workload in (ADAPTING, PREDICTING)])
    best = max(range(len(tried)), key=lambda k: tried[k][0]["rate"] * tried[k][1]["rate"])
    return side.variants[best], [row for pair in tried for row in pair]


def race(bench: Bench, servers: Sequence[Live], workloads: Sequence[Workload]) -> Iterator[Row]:
    """Measure every workload in rounds; in a round the servers take turns."""
    for workload in workloads:
        for turn in range(bench.rounds):
            for live in servers:
                if workload.concerns(live.side):
                    yield {**bench.measure(live, workload), "round": turn}


def overhead(bench: Bench, servers: Sequence[Live], subject: Subject, drawn: drawings.Drawn) -> list[Row]:
    """Measure one client's predictions in turns with the bare pass in this process."""
    found = []
    for turn in range(bench.rounds):
        bare = floors.bare_pass_ms(subject, drawn, bench.seconds / 2)
        for live in servers:
            row = bench.measure(live, WORKLOADS["predict, 1 client"], seconds=bench.seconds / 2)
            found.append({**row, "round": turn, "bare_pass_ms": round(bare, 4), "overhead_ms": round(row["p50_ms"] - bare, 4)})
    return found


def knee(bench: Bench, live: Live, closed_rate: float) -> dict[str, Any]:
    """Step the rate of open arrivals up until it misses the objective at two rates; then measure at a share of the last that met it."""
    steps: list[Row] = []
    missed = 0
    for fraction in FRACTIONS:
        tries = _tries(bench, live, fraction * closed_rate)
        steps += tries
        missed = 0 if tries[-1]["meets_slo"] else missed + 1
        if missed == 2:
            break
    met = max((row["arrivals"] for row in steps if row["meets_slo"]), default=0.0)
    under = bench.measure_open(live, rate=AT_KNEE * met, seconds=2 * bench.seconds) if met else None
    return {"side": live.side.name, "knee": met, "steps": steps, "at_70_percent": under}


def _tries(bench: Bench, live: Live, rate: float) -> list[Row]:
    """Measure one rate, and once more when it misses the objective: that may be a neighbour's doing."""
    first = bench.measure_open(live, rate=rate)
    return [first] if first["meets_slo"] else [first, bench.measure_open(live, rate=rate)]


def closed_rate(rows: Sequence[Row], name: str) -> float:
    """Give what a server served to 64 waiting clients over all sessions."""
    rates = sorted(row["rate"] for row in rows if row["side"] == name and row["workload"] == OVER_ALL.name)
    return float(rates[len(rates) // 2])


def measure(bench: Bench, compared: Sequence[sides.Side], subject: Subject, counts: Sequence[int]) -> dict[str, Any]:
    """Measure everything that needs a server."""
    floor = sides.no_model()
    result: dict[str, Any] = {"floors": asdict(floors.measure(subject, compared[0], list(bench.drawn), bench.seconds / 5))}
    chosen, result["variants"] = {}, []
    for side in compared:
        chosen[side.name], tried = choose(bench, side)
        result["variants"] += tried
    result["chosen"] = {name: variant.name for name, variant in chosen.items()}
    with ExitStack() as stack:
        servers = [stack.enter_context(bench.started(side, chosen[side.name], sessions=bench.sessions)) for side in compared]
        base = stack.enter_context(bench.started(floor, floor.variants[0], sessions=0))
        result["rows"] = list(race(bench, [*servers, base], [*WORKLOADS.values(), EMPTY]))
        result["overhead"] = overhead(bench, servers, subject, bench.drawn[0])
        result["knees"] = [knee(bench, live, closed_rate(result["rows"], live.side.name)) for live in servers]
    result["growth"] = list(growth(bench, compared[0], chosen[compared[0].name], counts))
    return result


def machine(device: str) -> dict[str, Any]:
    """Say what a result was measured on, and what uvicorn found there."""
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name() if device.startswith("cuda") else processor(),
        "cpu_count": os.cpu_count(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "uvloop": importlib.util.find_spec("uvloop") is not None,
        "httptools": importlib.util.find_spec("httptools") is not None,
    }


def main(  # noqa: PLR0913 - a command has as many options as it has
    model: str,
    data_root: Annotated[Path, typer.Option(envvar="INNERLOOP_DATA_ROOT")],
    model_store: Path = Path("model_store"),
    litserve_python: Annotated[Path, typer.Option(help="The interpreter that has LitServe.")] = Path("benchmarks/.venv-serving/bin/python"),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seconds: Annotated[float, typer.Option(help="For one server in one round of one row.")] = 5.0,
    rounds: int = 3,
    sessions: int = 1_000,
    tasks: Annotated[int, typer.Option(help="Different support sets; sessions share them in turn.")] = 500,
    slo_ms: Annotated[float, typer.Option(help="What the p99 of predictions must meet.")] = 50.0,
    growth_sessions: Annotated[list[int] | None, typer.Option(help="Live sessions. [default: 10, 1000, 100000]")] = None,
) -> None:
    """Compare; about half an hour."""
    subject = find_subject(model_store, model)
    drawn = drawings.draw(subject, data_root, way=5, shot=1, count=tasks)
    version, reason = sides.litserve_version(litserve_python)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(subject.reference, drawn, Path(folder), seconds, rounds, sessions, slo_ms)
        compared = [sides.ours(model_store, Path(folder) / "data", device), sides.plain(model_store, subject.reference, device)]
        compared += sides.litserve(litserve_python, model_store, subject.reference, device) if version else []
        result = {
            **subject.provenance,
            **machine(device),
            "litserve": version,
            "absent": {} if version else {"LitServe": reason},
            "views": subject.stored.model.recipe.views,
            **bench.how,
            "reference_accuracy": round(drawings.share_right(drawn), 4),
            **measure(bench, compared, subject, growth_sessions or (10, 1_000, 100_000)),
        }
        bench.close()
    subject.results("serving", torch.device(device)).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    typer.echo("\n".join(lines(result)))


if __name__ == "__main__":
    typer.run(main)
