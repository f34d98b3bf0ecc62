"""`innerloop models`: what a model store holds."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from innerloop.cli.figures import figures
from innerloop.cli.terminal import folding, show
from innerloop.wire import ErrorRow, EvaluationRow
from service.cli.terminal import plain_errors
from service.errors import BadDataError, RegistryError
from service.registry.read import read, versions


@plain_errors
def models(
    model_store: Annotated[Path, typer.Option(envvar="INNERLOOP_MODEL_STORE", help="Folder of meta-models.")] = Path("model_store"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the meta-models of a model store, each verified; a damaged one with the reason."""
    if not model_store.is_dir():
        raise BadDataError(f"{model_store}: expected a model store, found no folder there; name it with --model-store")
    if as_json:
        typer.echo(json.dumps([_facts(folder) for folder in versions(model_store)], indent=2))
        return
    table = Table(Column("model", no_wrap=True), *folding("takes", "adapts", "accuracy or error"))
    for folder in versions(model_store):
        table.add_row(f"{folder.parent.name}@{folder.name}", *_described(folder))
    show(table)


def _facts(folder: Path) -> dict[str, object]:
    named = {"name": folder.parent.name, "version": int(folder.name)}
    try:
        manifest = read(folder).manifest
    except RegistryError as error:
        return {**named, "status": "refused", "reason": error.message}
    return {**named, "status": "verified", **manifest.model_dump(mode="json", include={"input", "recipe", "evaluation", "errors"})}


def _described(folder: Path) -> tuple[str, str, str]:
    try:
        manifest = read(folder).manifest
    except RegistryError as error:
        return ("", "", f"refused: {error.message}")
    recipe = manifest.recipe
    adapts = f"{manifest.training.preset}, scope {recipe.scope}, {recipe.steps_default} steps (up to {recipe.steps_max})"
    accuracies = [EvaluationRow(**row.model_dump()) for row in manifest.evaluation]
    errors = [ErrorRow(**row.model_dump()) for row in manifest.errors]
    return (manifest.input.kind, adapts, figures(accuracies, errors))
