"""The command that measures a running server from the client's side."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, TypeAlias
from uuid import uuid4

import typer
from rich.table import Column, Table

from innerloop.address import DEFAULT_URL
from innerloop.async_client import AsyncClient, AsyncSession
from innerloop.cli.options import Json, Model, Url
from innerloop.cli.progress import ticking
from innerloop.cli.terminal import show, show_json
from innerloop.client import Client
from innerloop.errors import UnusableInputError
from innerloop.load import Load, measure
from innerloop.retries import Retries
from innerloop.samples import sample
from innerloop.wire import ModelInfo

Loads: TypeAlias = dict[str, Load]

_BUSY = 0.8  # of one core
_WARM_UP = 3  # calls before measuring
_KEPT = 100  # sessions that predictions are asked of


@dataclass(frozen=True, slots=True)
class Asked:
    """What is measured."""

    way: int
    shot: int
    callers: int
    seconds: float


def bench(  # noqa: PLR0913 - every option of the command is an argument
    model: Model = None,
    way: Annotated[int, typer.Option(min=2, help="Classes of each support set.")] = 5,
    shot: Annotated[int, typer.Option(min=1, help="Examples of each class.")] = 1,
    callers: Annotated[int, typer.Option(min=1, help="How many ask at the same time.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to adapt, and then as long to predict.")] = 5.0,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Measure a running server: adaptations and predictions a second, as this client sees them. Its sessions are deleted afterwards."""
    with Client(url) as client:
        info = _meta_model(client, model)
    asked, name = Asked(way, shot, callers, seconds), f"bench {uuid4()}"
    try:
        with ticking("measuring", seconds=2 * seconds):
            loads = asyncio.run(_measured(url, info, name, asked))
    finally:
        with Client(url) as client:
            client.delete_sessions(confirm=True, name=name)
    reference = f"{info.name}@{info.version}"
    if as_json:
        show_json({"model": reference, **asdict(asked), **{what: _facts(load) for what, load in loads.items()}})
    else:
        _show(loads, f"{reference}, {way}-way {shot}-shot, {callers} at a time, one query a prediction")


def _meta_model(client: Client, name: str | None) -> ModelInfo:
    wanted = name or client.info().default_model
    if wanted is None:
        raise UnusableInputError("the server has no default meta-model; name one with --model")
    return client.model(wanted)


async def _measured(url: str, info: ModelInfo, name: str, asked: Asked) -> Loads:
    drawn = sample(info, way=asked.way, shot=asked.shot + 1)
    support = {label: inputs[1:] for label, inputs in drawn.items()}
    queries = [inputs[:1] for inputs in drawn.values()]
    model, sessions = f"{info.name}@{info.version}", list[AsyncSession]()
    async with AsyncClient(url, retries=Retries(tries=1)) as client:

        async def adapt(_: int) -> None:
            session = await client.adapt(model, support, name=name)
            if len(sessions) < _KEPT:
                sessions.append(session)

        async def predict(n: int) -> None:
            await sessions[n % len(sessions)].predict(queries[n % asked.way], top_k=1)

        for n in range(_WARM_UP):
            await adapt(n)
        adaptations = await measure(adapt, callers=asked.callers, seconds=asked.seconds)
        for n in range(_WARM_UP):
            await predict(n)
        return {"adaptations": adaptations, "predictions": await measure(predict, callers=asked.callers, seconds=asked.seconds)}


def _facts(load: Load) -> dict[str, float]:
    milliseconds = {f"p{share}_ms": round(1000 * load.percentile(share / 100), 3) for share in (50, 95, 99)}
    rates = {"calls": len(load.latencies), "refused": load.refused, "seconds": round(load.seconds, 3)}
    return {**rates, "per_second": round(load.per_second, 3), **milliseconds, "own_cpu": round(load.own_cpu, 3)}


def _show(loads: Loads, title: str) -> None:
    rows: dict[str, Callable[[Load], str]] = {
        "a second": lambda load: f"{load.per_second:,.1f}",
        "half within": lambda load: f"{1000 * load.percentile(0.5):,.1f} ms",
        "95 % within": lambda load: f"{1000 * load.percentile(0.95):,.1f} ms",
        "99 % within": lambda load: f"{1000 * load.percentile(0.99):,.1f} ms",
        "answered": lambda load: f"{len(load.latencies):,}",
        "queue was full": lambda load: f"{load.refused:,}",
        "this client's CPU": lambda load: f"{load.own_cpu:.0%} of a core",
    }
    table = Table("", *(Column(what, justify="right") for what in loads))
    for fact, say in rows.items():
        table.add_row(fact, *map(say, loads.values()))
    typer.echo(title)
    show(table)
    if max(load.own_cpu for load in loads.values()) >= _BUSY:
        typer.echo("This client used most of a core itself: the server may do more than it was asked for. Run several of them at once.")
