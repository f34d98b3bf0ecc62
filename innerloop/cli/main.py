"""The command line: the client half at hand, the service half joined on use."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import innerloop
from innerloop.cli import examples, sessions, weights
from innerloop.cli.service_half import service_commands
from innerloop.cli.terminal import fail
from innerloop.errors import InnerloopError

_COMMANDS: Mapping[str, Callable[..., None]] = {
    "adapt": sessions.adapt,
    "predict": sessions.predict,
    "add": examples.add,
    "remove": examples.remove,
    "examples": examples.examples,
    "sessions": sessions.sessions,
    "change": sessions.change,
    "fork": sessions.fork,
    "export": weights.export,
    "import": weights.import_session,
    "delete": sessions.delete,
}


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
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)


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
