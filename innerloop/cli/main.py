"""The command line: the client half at hand, the service half joined on use."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import innerloop
from innerloop.cli import bench, examples, info, sessions, weights
from innerloop.cli.service_half import service_commands
from innerloop.cli.statuses import EPILOG, status_of
from innerloop.cli.terminal import fail
from innerloop.errors import InnerloopError

_COMMANDS: Mapping[str, Callable[..., None]] = {
    "adapt": sessions.adapt,
    "predict": sessions.predict,
    "classify": sessions.classify,
    "grow": examples.grow,
    "remove": examples.remove,
    "examples": examples.examples,
    "sessions": sessions.sessions,
    "change": sessions.change,
    "fork": sessions.fork,
    "export": weights.export,
    "import": weights.import_session,
    "delete": sessions.delete,
    "info": info.info,
    "bench": bench.bench,
}

_EXAMPLES: Mapping[str, str] = {
    "adapt": "Example: innerloop adapt examples/characters/support --name characters",
    "predict": "Example: innerloop predict SESSION examples/characters/queries --top-k 2",
    "classify": "Example: innerloop classify examples/characters/support examples/characters/queries/kite-1.png",
    "grow": "Example: innerloop grow SESSION more-drawings.zip",
    "remove": "Example: innerloop remove SESSION 3 7",
    "change": "Example: innerloop change SESSION --pin --name characters",
    "export": "Example: innerloop export SESSION --format onnx --output characters.onnx",
    "bench": "Example: innerloop bench --callers 32 --seconds 10 --json",
}


class CommandLine(TyperGroup):
    """Both halves; an error raised on purpose becomes one line and its status."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands.update(service_commands())

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InnerloopError as error:
            fail(str(error), status=status_of(error))


app = typer.Typer(name="innerloop", cls=CommandLine, no_args_is_help=True, epilog=EPILOG, pretty_exceptions_enable=False)
for _name, _command in _COMMANDS.items():
    app.command(_name, epilog=_EXAMPLES.get(_name), rich_help_panel="With a running server")(_command)


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
    """Runs the command line; `innerloop.cli.statuses` says what its status means."""
    app()
