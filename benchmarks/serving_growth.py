"""Predictions as sessions grow: one server keeps few, another keeps many, and they take turns."""

from collections.abc import Iterator, Sequence

from benchmarks.serving_rows import Bench, Live, Row
from benchmarks.serving_workloads import Workload
from benchmarks.sides import Side, Variant

# One client for latency, many for throughput; both over all sessions.
ASKING = tuple(Workload(f"predict, {clients} clients, all sessions", "predict", clients, over="uniform") for clients in (1, 64))


def growth(bench: Bench, side: Side, variant: Variant, counts: Sequence[int]) -> Iterator[Row]:
    """Measure a server with each number of live sessions, in turns with one that keeps the fewest."""
    few, *more = sorted(counts)
    with bench.started(side, variant, sessions=0) as small, bench.started(side, _with_own_data(variant), sessions=0) as large:
        bench.grow(small, few)
        yield from _in_turns(bench, [small])
        empty = large.server.resident_bytes()
        for count in more:
            made = bench.grow(large, count)
            held = (large.server.resident_bytes() - empty) / count
            for row in _in_turns(bench, [small, large]):
                yield {**row, "of": count, "made_a_second": made["rate"], "bytes_a_session": round(held)}


def _in_turns(bench: Bench, servers: Sequence[Live]) -> Iterator[Row]:
    for workload in ASKING:
        for turn in range(bench.rounds):
            for live in servers:
                yield {**bench.measure(live, workload), "round": turn, "live_sessions": len(live.sessions)}


def _with_own_data(variant: Variant) -> Variant:
    """Give the variant with another folder for the server's files: two servers never share one."""
    place = variant.command.index("--data-dir") + 1
    command = (*variant.command[:place], f"{variant.command[place]}-large", *variant.command[place + 1 :])
    return Variant(variant.name, command, variant.settings)
