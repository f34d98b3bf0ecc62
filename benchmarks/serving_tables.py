"""What benchmarks/serving.py prints: Markdown tables of its raw rows."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.serving_workloads import EMPTY
from benchmarks.sides import FLOOR, OURS

Result = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]


def lines(result: Result) -> Iterator[str]:
    """Lay out everything."""
    cores, uvloop = result["cpu_count"], "uvloop" if result["uvloop"] else "no uvloop"
    yield f"{result['model']} on {result['device_name']} ({result['device']}), {cores} cores, torch {result['torch']}, {uvloop}"
    yield from (f"{name} is absent: {reason}" for name, reason in result["absent"].items())
    yield from (f"{name}: {variant}" for name, variant in result["chosen"].items())
    for title, part in (
        ("closed loop (median of rounds)", _closed(result["rows"])),
        (f"open loop, p99 within {result['slo_ms']:.0f} ms", _knees(result["knees"])),
        ("one prediction over HTTP, and the bare pass", _overhead(result["overhead"])),
        ("CPU time of a request of ours over its floors", _floors(result)),
        ("live sessions", _growth(result["growth"])),
    ):
        yield from ("", title, "", *part)


def median(rows: Rows, key: str) -> float:
    """Give the median of one figure over rounds."""
    return float(statistics.median(row[key] for row in rows))


def _closed(rows: Rows) -> Iterator[str]:
    yield from _head("row", "server", "a second", "ours / it", "p50 ms", "p95 ms", "p99 ms", "server CPU ms", "server cores", "generator")
    for workload in dict.fromkeys(row["workload"] for row in rows):
        own = median(_of(rows, workload, OURS), "rate") if _of(rows, workload, OURS) else None
        for side in dict.fromkeys(row["side"] for row in rows):
            found = _of(rows, workload, side)
            if found:
                rate = median(found, "rate")
                ratio = f"{own / rate:.2f}×" if own and rate else ""
                figures = [f"{median(found, key):.2f}" for key in ("p50_ms", "p95_ms", "p99_ms", "server_cpu_ms", "server_cores")]
                yield _line(workload, side, f"{rate:.0f}", ratio, *figures, f"{100 * median(found, 'generator_core_share'):.0f} %")


def _knees(knees: Rows) -> Iterator[str]:
    yield from _head("server", "knee, a second", "at 70 %: goodput", "p50 ms", "p95 ms", "p99 ms", "p99 / p50", "generator")
    for each in knees:
        row = each["at_70_percent"]
        if row is None:
            yield _line(each["side"], "none met it", *[""] * 6)
            continue
        figures = [f"{row[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms", "tail")]
        yield _line(each["side"], f"{each['knee']:.0f}", f"{row['goodput']:.0f}", *figures, f"{100 * row['generator_core_share']:.0f} %")


def _overhead(rows: Rows) -> Iterator[str]:
    yield from _head("server", "p50 over HTTP, ms", "bare pass, ms", "overhead, ms")
    for side in dict.fromkeys(row["side"] for row in rows):
        found = [row for row in rows if row["side"] == side]
        yield _line(side, *(f"{median(found, key):.3f}" for key in ("p50_ms", "bare_pass_ms", "overhead_ms")))


def over_floors(result: Result) -> Iterator[dict[str, Any]]:
    """Give the CPU milliseconds of our requests, of their floors, and the ratio."""
    floors, views = result["floors"], result["views"]
    http = median(_of(result["rows"], EMPTY.name, FLOOR), "server_cpu_ms")
    for kind, images in (("adapt", 5), ("predict", 1)):
        for form, workload in (("json", f"{kind}, 64 clients"), ("multipart", f"{kind}, 64 clients, multipart")):
            spent = median(_of(result["rows"], workload, OURS), "server_cpu_ms")
            parts = {
                "http": http,
                "parse": floors["parse"][f"{kind} {form}"],
                "decode": images * floors["decode"],
                "encoder": images * (views if kind == "adapt" else 1) * floors["encoder"],
            }
            yield {"request": f"{kind}, {form}", "spent": spent, **parts, "ratio": spent / sum(parts.values())}


def _floors(result: Result) -> Iterator[str]:
    yield f"float32 matrix product: {result['floors']['product_gflops']:.0f} GFLOP/s on one thread"
    yield from ("", *_head("request", "ours, ms", "empty POST", "parse", "decode", "encoder", "ours / sum"))
    for row in over_floors(result):
        parts = [f"{row[key]:.3f}" for key in ("spent", "http", "parse", "decode", "encoder")]
        yield _line(row["request"], *parts, f"{row['ratio']:.2f}×")


def _growth(rows: Rows) -> Iterator[str]:
    yield from _head("row", "live", "a second", "p50 ms", "p99 ms", "p50 over fewest", "bytes a session", "made a second")
    for workload in dict.fromkeys(row["workload"] for row in rows):
        for count in dict.fromkeys(row["of"] for row in rows if "of" in row):
            turns = [row for row in rows if row.get("of") == count and row["workload"] == workload]
            many = [row for row in turns if row["live_sessions"] == count]
            few = [row for row in turns if row["live_sessions"] < count]
            for part in (few, many):
                ratio = median(part, "p50_ms") / median(few, "p50_ms")
                figures = [f"{median(part, 'rate'):.0f}", *(f"{median(part, key):.2f}" for key in ("p50_ms", "p99_ms")), f"{ratio:.2f}×"]
                kept = (f"{part[0]['bytes_a_session']}", f"{part[0]['made_a_second']:.0f}") if part is many else ("", "")
                yield _line(workload, f"{part[0]['live_sessions']}", *figures, *kept)


def _of(rows: Rows, workload: str, side: str) -> Rows:
    return [row for row in rows if row["workload"] == workload and row["side"] == side]


def _head(*names: str) -> Iterator[str]:
    yield _line(*names)
    yield "|" + " --- |" * len(names)


def _line(*values: str) -> str:
    return "| " + " | ".join(values) + " |"
