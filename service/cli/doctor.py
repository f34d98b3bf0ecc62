"""`innerloop doctor`: can a server run here, and what to do where it cannot."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from innerloop.cli.terminal import folding, show
from service.cli.checks import findings
from service.cli.logs import configure_logs
from service.cli.settings import settings_of
from service.cli.terminal import plain_errors
from service.config import Settings
from service.errors import BadConfigError

_SHOWN = {"ok": ("ok", "green"), "note": ("note", "yellow"), "broken": ("broken", "bold red")}


@plain_errors
def doctor(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default: 8000).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for the server's own files (default: data).")] = None,
    model_store: Annotated[Path | None, typer.Option(help="Folder of meta-models (default: model_store).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda:N (default: auto).")] = None,
    store: Annotated[str | None, typer.Option(help="Where sessions are kept: sqlite, memory or redis://… (default: sqlite).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check that `serve` can run with the same options and environment. The exit status is 1 where something is broken."""
    configure_logs()
    given = {"host": host, "port": port, "data_dir": data_dir, "model_store": model_store, "device": device, "store": store}
    settings, failed = _settings(given)
    found = list(findings(settings, failed=failed))
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=2))
    else:
        table = Table("", *folding("what", "how it is"))
        for each in found:
            table.add_row(Text(*_SHOWN[each.state]), each.what, each.detail)
        show(table)
    if any(each.state == "broken" for each in found):
        raise typer.Exit(1)


def _settings(given: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """The settings, and the check that has failed by them: a store that cannot be keeps no other check from its turn."""
    try:
        return settings_of(**given), {}
    except BadConfigError as error:
        try:
            settings = settings_of(**{**given, "store": "memory"})
        except BadConfigError:
            raise error from None
        return settings, {"session store": f"{error.message}; name another with --store"}
