"""What the service half of the command line shares."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from service.errors import ServiceError
from service.registry.read import read_manifest

P = ParamSpec("P")
R = TypeVar("R")


def plain_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print an error raised on purpose as one line and end with status 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ServiceError as error:
            Console(stderr=True).print(Text.assemble(("Error: ", "bold red"), error.message), soft_wrap=True)
            raise typer.Exit(1) from None

    return run


def show_published(folder: Path, *, console: Console, as_json: bool) -> None:
    """Print the card of a meta-model that was just written, and where it is; with `as_json` also its figures, on stdout."""
    console.print((folder / "CARD.md").read_text(encoding="utf-8"), markup=False, highlight=False)
    console.print(f"written to {folder}", soft_wrap=True)
    if as_json:
        facts = read_manifest(folder).model_dump(mode="json", include={"name", "version", "evaluation", "errors"})
        typer.echo(json.dumps({**facts, "folder": str(folder)}, indent=2))
