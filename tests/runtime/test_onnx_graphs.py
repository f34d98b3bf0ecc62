import asyncio
import os
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.errors import ExportUnavailableError
from service.runtime.catalog import Catalog
from service.runtime.onnx_graphs import OnnxGraphs
from service.runtime.onnx_trace import ask, graph
from tests.runtime.exports import catalog_of
from tests.runtime.tasks import MODELS
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return catalog_of(tmp_path_factory.mktemp("store"), tiny=tiny_model(), vectors=MODELS["head, of vectors"])


def tracer(tmp_path: Path, body: str) -> tuple[str, ...]:
    """A program in the place of the real one, which takes notes of when it runs."""
    program = tmp_path / "tracer.py"
    program.write_text(f"import os, sys, time\nnotes = open({str(tmp_path / 'notes')!r}, 'a')\nasked = sys.stdin.buffer.read()\n{body}")
    return (sys.executable, str(program))


def notes(tmp_path: Path) -> list[str]:
    return (tmp_path / "notes").read_text().split()


def wait_for_notes(tmp_path: Path) -> None:
    while not (tmp_path / "notes").exists() or not notes(tmp_path):
        time.sleep(0.01)


def test_the_program_gives_what_the_function_gives(catalog: Catalog) -> None:
    served = catalog.find("vectors")
    assert asyncio.run(OnnxGraphs().of(served)) == graph(ask(served.model))


def test_however_many_ask_it_is_traced_once(tmp_path: Path, catalog: Catalog) -> None:
    graphs = OnnxGraphs(tracer(tmp_path, "notes.write('traced ')\nsys.stdout.buffer.write(asked)"))
    served = catalog.find("tiny")

    async def scenario() -> list[bytes]:
        together = await asyncio.gather(*(graphs.of(served) for _ in range(5)))
        return [*together, await graphs.of(served)]

    assert asyncio.run(scenario()) == [ask(served.model)] * 6
    assert notes(tmp_path) == ["traced"]


def test_one_program_runs_at_a_time(tmp_path: Path, catalog: Catalog) -> None:
    body = "notes.write('begin ')\nnotes.flush()\ntime.sleep(0.1)\nnotes.write('end ')\nsys.stdout.buffer.write(asked)"
    graphs = OnnxGraphs(tracer(tmp_path, body))

    async def scenario() -> None:
        await asyncio.gather(graphs.of(catalog.find("tiny")), graphs.of(catalog.find("vectors")))

    asyncio.run(scenario())
    assert notes(tmp_path) == ["begin", "end"] * 2


def test_one_who_leaves_does_not_end_it_for_the_others(tmp_path: Path, catalog: Catalog) -> None:
    graphs = OnnxGraphs(tracer(tmp_path, "time.sleep(0.3)\nnotes.write('traced ')\nsys.stdout.buffer.write(asked)"))
    served = catalog.find("tiny")

    async def scenario() -> bytes:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(graphs.of(served), 0.05)
        return await graphs.of(served)

    assert asyncio.run(scenario()) == ask(served.model)
    assert notes(tmp_path) == ["traced"]


def test_a_tracer_that_fails_is_logged_and_tried_again(tmp_path: Path, catalog: Catalog) -> None:
    graphs = OnnxGraphs(tracer(tmp_path, "notes.write('traced ')\nsys.exit('no such operator')"))
    log: list[MutableMapping[str, Any]]

    async def scenario() -> None:
        for _ in range(2):
            with pytest.raises(ExportUnavailableError, match="failed for tiny@1; the server's log says how"):
                await graphs.of(catalog.find("tiny"))

    with capture_logs() as log:
        asyncio.run(scenario())
    assert [(entry["event"], entry["model"], entry["said"].strip()) for entry in log] == [
        ("tracing failed", "tiny@1", "no such operator")
    ] * 2
    assert notes(tmp_path) == ["traced"] * 2


def test_the_program_ends_with_the_server(tmp_path: Path, catalog: Catalog) -> None:
    graphs = OnnxGraphs(tracer(tmp_path, "notes.write(f'{os.getpid()} ')\nnotes.flush()\ntime.sleep(60)"))

    async def scenario() -> None:
        asking = asyncio.ensure_future(graphs.of(catalog.find("tiny")))
        await asyncio.to_thread(wait_for_notes, tmp_path)
        asking.cancel()

    asyncio.run(scenario())
    with pytest.raises(ProcessLookupError):
        os.kill(int(notes(tmp_path)[0]), 0)


def test_the_program_runs_behind_the_server_and_on_no_core_that_it_was_pinned_to_later(tmp_path: Path, catalog: Catalog) -> None:
    allowed = os.sched_getaffinity(0)
    graphs = OnnxGraphs(tracer(tmp_path, "sys.stdout.write(f'{os.nice(0)} {sorted(os.sched_getaffinity(0))}')"))
    try:
        os.sched_setaffinity(0, {min(allowed)})
        found = asyncio.run(graphs.of(catalog.find("tiny")))
    finally:
        os.sched_setaffinity(0, allowed)
    assert found.decode() == f"{max(10, os.nice(0))} {sorted(allowed)}"


def test_the_program_sees_no_gpu(tmp_path: Path, catalog: Catalog) -> None:
    graphs = OnnxGraphs(tracer(tmp_path, "sys.stdout.write(repr(os.environ['CUDA_VISIBLE_DEVICES']))"))
    assert asyncio.run(graphs.of(catalog.find("tiny"))) == b"''"
