"""The graphs of the meta-models of this process: each is traced once, in a program of its own, one at a time."""

import asyncio
import os
import sys
from collections.abc import Sequence, Set

import structlog

from service.errors import ExportUnavailableError
from service.runtime.catalog import Served
from service.runtime.cores import allowed_cores, put_behind
from service.runtime.onnx_trace import ask

log = structlog.get_logger()

TRACER = (sys.executable, "-P", "-m", "service.runtime.onnx_trace")


class OnnxGraphs:
    """Gives the graph of a meta-model; however many ask for it, it is traced once. It is used from one event loop.

    The tracer may run where the thread that made this one may: it is made before the threads of a server are pinned.
    """

    def __init__(self, tracer: Sequence[str] = TRACER) -> None:
        self._tracer = tracer
        self._cores = allowed_cores()
        self._graphs: dict[str, bytes] = {}
        self._tracing: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    async def of(self, served: Served) -> bytes:
        """Give the graph, after seconds when nobody asked for it before.

        Raises:
            ExportUnavailableError: the tracer failed; the log says how.
        """
        name = served.reference
        if name not in self._graphs:
            # Of those who wait, one may be cancelled: the tracing goes on for the others.
            await asyncio.shield(self._trace(served))
        return self._graphs[name]

    def _trace(self, served: Served) -> "asyncio.Task[None]":
        name = served.reference
        if name not in self._tracing:
            self._tracing[name] = asyncio.ensure_future(self._traced(served))
            self._tracing[name].add_done_callback(self._forget)
        return self._tracing[name]

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._tracing = {name: each for name, each in self._tracing.items() if each is not task}
        if not task.cancelled():
            task.exception()  # looked at, since those who waited for it may have left

    async def _traced(self, served: Served) -> None:
        async with self._turn:
            code, graph, said = await _run(self._tracer, ask(served.model), self._cores)
        if code != 0:
            log.error("tracing failed", model=served.reference, said=said.decode(errors="replace")[-4000:])
            raise ExportUnavailableError(
                f"the ONNX exporter failed for {served.reference}; the server's log says how; format=safetensors does without it",
                field="format",
            )
        self._graphs[served.reference] = graph


async def _run(command: Sequence[str], said: bytes, cores: Set[int]) -> tuple[int | None, bytes, bytes]:
    """Run a program that leaves the GPU alone; it ends with the one who waits for it."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    try:
        put_behind(program.pid, cores)
        out, errors = await program.communicate(said)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    return program.returncode, out, errors
