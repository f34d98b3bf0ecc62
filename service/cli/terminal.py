"""What the service half of the command line shares."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from service.errors import ServiceError

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
