"""The command that says what a server is and what it serves."""

import typer
from rich.table import Column, Table

from innerloop.address import DEFAULT_URL
from innerloop.cli.figures import figures
from innerloop.cli.options import Json, Url
from innerloop.cli.terminal import folding, show, show_json
from innerloop.client import Client
from innerloop.wire import ModelInfo, ServerInfo


def info(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Say what a server is, what one request may hold, and which meta-models it has."""
    with Client(url) as client:
        server, models = client.info(), client.models()
    if as_json:
        show_json({**server.model_dump(mode="json"), "models": [model.model_dump(mode="json") for model in models]})
        return
    limits = server.limits
    typer.echo(f"Innerloop {server.version} at {url}, computing on {server.device}, sessions kept in {server.store}")
    typer.echo(
        f"a request may hold {limits.body_bytes / 2**20:,.0f} MiB, {limits.examples:,} examples of {limits.classes:,} classes, "
        f"{limits.queries:,} queries"
    )
    show(_models_table(server, models))


def _models_table(server: ServerInfo, models: tuple[ModelInfo, ...]) -> Table:
    table = Table(Column("model", no_wrap=True), *folding("takes", "inner steps", "accuracy or error"))
    for model in models:
        table.add_row(f"{model.name}@{model.version}{_marked(model)}", *_described(model))
    if server.default_model is None:
        table.caption = "no default: --model must name one"
    return table


def _marked(model: ModelInfo) -> str:
    return " (default)" if model.default else ""


def _described(model: ModelInfo) -> tuple[str, str, str]:
    if model.status == "refused":
        return ("", "", f"refused: {model.reason}")
    return (_input(model), f"{model.steps_default}, up to {model.steps_max}", figures(model.evaluation, model.errors))


def _input(model: ModelInfo) -> str:
    takes = model.input or {}
    kind, length, longest = str(takes.get("kind", "")), takes.get("length"), takes.get("longest")
    if length is not None:
        return f"{kind} of {length}"
    return f"{kind} of up to {longest}" if longest is not None else kind
