"""The commands that `service` adds through the entry-point group `innerloop.commands`: named at once, imported when used."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperCommand

from innerloop.cli.terminal import fail

_HELP = {
    "serve": "Serve the meta-models of a model store over HTTP.",
    "train": "Meta-train a meta-model as a TOML file says.",
    "evaluate": "Measure a meta-model on episodes of unseen classes.",
    "calibrate": "Calibrate the scores of a meta-model without training it.",
    "models": "List the meta-models of a model store.",
    "search": "Look for a better configuration to meta-train by.",
    "doctor": "Check that the server can run here, and say what to do where it cannot.",
}
_NEEDS_TRAINER = ("train", "calibrate", "evaluate", "search")


class ServiceCommand(TyperCommand):
    """Stands for a command in the help; becomes the real one when arguments reach it."""

    def __init__(self, entry_point: EntryPoint) -> None:
        super().__init__(entry_point.name, help=_HELP.get(entry_point.name), rich_help_panel="On this machine")
        self._entry_point = entry_point

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return _load(self._entry_point).make_context(info_name, args, parent, **extra)


def service_commands() -> dict[str, ServiceCommand]:
    """By name, sorted."""
    found = sorted(entry_points(group="innerloop.commands"), key=lambda entry: entry.name)
    return {entry.name: ServiceCommand(entry) for entry in found}


def _load(entry: EntryPoint) -> Any:
    with _needing(entry):
        function = entry.load()
    single = typer.Typer(add_completion=False)
    single.command(entry.name)(_needing(entry)(function))  # around the run too: it may import late
    return typer.main.get_command(single)


@contextmanager
def _needing(entry: EntryPoint) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("innerloop", "service"):
            raise  # ours, so no extra would bring it
        needs, extra = ("the trainer", "train") if entry.name in _NEEDS_TRAINER else ("the server", "service")
        fail(f"innerloop {entry.name} needs {needs}: pip install 'innerloop[{extra}]'")
