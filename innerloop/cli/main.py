"""The command line: the client half at hand, the service half joined on use."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import innerloop
from innerloop.cli import sessions
from innerloop.cli.service_half import service_commands
from innerloop.cli.terminal import fail
from innerloop.errors import InnerloopError


class CommandLine(TyperGroup):
    """Both halves; an error raised on purpose becomes one line and status 1."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands.update(service_commands())

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InnerloopError as error:
            fail(str(error))


app = typer.Typer(name="innerloop", cls=CommandLine, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for _command in (sessions.adapt, sessions.predict, sessions.sessions, sessions.delete):
    app.command()(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(innerloop.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Few-shot adaptation as a service: adapt a meta-learned model to a handful of examples, then predict."""


def main() -> None:
    """Runs the command line; the status is 1 for an error, 2 for wrong usage."""
    app()
