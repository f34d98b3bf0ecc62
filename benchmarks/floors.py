"""What a request cannot cost less than: its parse, its images' decoding and the encoder's arithmetic, as CPU time of this machine."""

import asyncio
import base64
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch
from starlette.requests import Request
from starlette.types import Message

from benchmarks.drawings import Drawn
from benchmarks.encoder_rate import SIDE, operations
from benchmarks.load import Asked
from benchmarks.sides import Form, Side
from benchmarks.subject import Subject
from service.inputs.specification import RawInput
from service.learner.episodes import Support
from service.learner.meta_model import adapt, fold, predict

ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Floors:
    """Milliseconds of CPU time on one thread, and the rate they were reckoned with."""

    product_gflops: float
    encoder_megaflops: float
    encoder: float
    decode: float
    parse: dict[str, float]


def measure(subject: Subject, side: Side, drawn: list[Drawn], seconds: float) -> Floors:
    """Measure the floors of requests to a side; each measurement takes about so many seconds."""
    torch.set_num_threads(1)
    model, takes = fold(subject.stored.model), subject.stored.manifest.input
    files = [content for each in drawn[:50] for _, content in each.support]
    pictures = torch.stack([takes.decode(RawInput("drawing", content)) for content in files])
    size = SIDE["cpu"]
    left, right = torch.randn(size, size), torch.randn(size, size)
    gflops = 2 * size**3 / cpu_ms([partial(torch.mm, left, right)], seconds) / 1e6
    per_image = operations(model, pictures) / len(pictures)
    return Floors(
        product_gflops=round(gflops, 2),
        encoder_megaflops=round(per_image / 1e6, 3),
        encoder=per_image / gflops / 1e6,
        decode=cpu_ms([partial(takes.decode, RawInput("drawing", content)) for content in files], seconds),
        parse=_parsing(subject, side, drawn[:50], seconds),
    )


def cpu_ms(calls: list[Callable[[], object]], seconds: float) -> float:
    """Give the median over rounds of the CPU time that a call takes, its milliseconds."""
    spent = []
    for _ in range(ROUNDS):
        count, began, ends = 0, time.process_time(), time.perf_counter() + seconds / ROUNDS
        while time.perf_counter() < ends:
            calls[count % len(calls)]()
            count += 1
        spent.append(1000 * (time.process_time() - began) / count)
    return statistics.median(spent)


def bare_pass_ms(subject: Subject, drawn: Drawn, seconds: float) -> float:
    """Give the median time of one forward pass in process, its picture decoded already: what HTTP is measured against."""
    torch.set_num_threads(1)
    model, takes = fold(subject.stored.model), subject.stored.manifest.input
    pictures = torch.stack([takes.decode(RawInput("drawing", content)) for _, content in drawn.support])
    names = sorted({name for name, _ in drawn.support})
    labels = torch.tensor([names.index(name) for name, _ in drawn.support])
    adapted = adapt(model, Support(pictures, labels, len(names)), model.recipe.steps_default).params
    spent, ends = [], time.perf_counter() + seconds
    while time.perf_counter() < ends:
        began = time.perf_counter()
        predict(model, adapted, pictures[:1])
        spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent)


def _parsing(subject: Subject, side: Side, drawn: list[Drawn], seconds: float) -> dict[str, float]:
    made: Mapping[str, Callable[[Drawn, Form], Asked]] = {
        "adapt": partial(side.create, subject.reference),
        "predict": lambda each, form: side.predict("0" * 16, each.questions[0], form),
    }
    forms: tuple[Form, ...] = get_args(Form)
    asked = {f"{workload} {form}": [make(each, form) for each in drawn] for form in forms for workload, make in made.items()}
    return {name: _parse_ms(bodies, seconds, multipart=name.endswith("multipart")) for name, bodies in asked.items()}


def _parse_ms(asked: list[Asked], seconds: float, *, multipart: bool) -> float:
    bodies = [each.payload.partition(b"\r\n\r\n")[2] for each in asked]
    if not multipart:
        return cpu_ms([partial(_json, body) for body in bodies], seconds)
    kind = asked[0].payload.partition(b"Content-Type: ")[2].partition(b"\r\n")[0]
    with asyncio.Runner() as runner:
        return cpu_ms([partial(_run, runner, body, kind) for body in bodies], seconds)


def _json(body: bytes) -> None:
    """Read a body as any server must: the text, then the files in it."""
    table = json.loads(body)
    for each in table.get("support", table.get("queries")):
        base64.b64decode(each["image"])


def _run(runner: asyncio.Runner, body: bytes, kind: bytes) -> None:
    runner.run(_form(body, kind))


async def _form(body: bytes, kind: bytes) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async with Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}, receive).form() as form:
        for _, value in form.multi_items():
            if not isinstance(value, str):
                await value.read()
