"""The commands for adapted weights as files: export, import."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from innerloop.address import DEFAULT_URL
from innerloop.calls import Format
from innerloop.cli.options import Json, Lifetime, Name, Revision, SessionId, Url
from innerloop.cli.terminal import show_json, show_session
from innerloop.client import Client
from innerloop.errors import UnusableInputError

_FORMATS: tuple[Format, ...] = get_args(Format)


def export(  # noqa: PLR0913 - every option of the command is an argument
    session_id: SessionId,
    format: Annotated[
        Format | None,
        typer.Option(help="safetensors can be imported again, onnx runs elsewhere; what FILE ends in, or safetensors, when absent."),
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write; SESSION.safetensors or .onnx when absent.")] = None,
    revision: Revision = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Write the adapted weights of a session to a file."""
    chosen = _format(output, format)
    path = output or Path(f"{session_id}.{chosen}")
    if path.exists() and not force:
        raise UnusableInputError(f"{path} is there already; name another --output, or overwrite it with --force")
    with Client(url) as client:
        content = client.session(session_id).export(chosen, revision)
    _write(path, content, force=force)
    if as_json:
        show_json({"session": session_id, "file": str(path), "bytes": len(content)})
    else:
        typer.echo(f"wrote {path}")


def _format(output: Path | None, wanted: Format | None) -> Format:
    """The format that was named, or that the file's suffix names; wrong usage where the two are not the same."""
    suffix = "" if output is None else output.suffix.lower().removeprefix(".")
    named = next((one for one in _FORMATS if one == suffix), None)
    if named is not None and wanted not in (None, named):
        raise typer.BadParameter(f"expected {output} and --format {wanted} to mean the same; leave --format out, or name another --output")
    return wanted or named or "safetensors"


def import_session(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export wrote as safetensors.")],
    name: Name = None,
    ttl_seconds: Lifetime = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Make a session from exported weights."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UnusableInputError(f"expected a file that export wrote at {file}: {error.strerror}") from error
    with Client(url) as client:
        session = client.import_session(content, name=name, ttl_seconds=ttl_seconds)
    show_session(session.info, as_json=as_json)


def _write(path: Path, content: bytes, *, force: bool) -> None:
    try:
        with path.open("wb" if force else "xb") as file:  # x: nothing that came while the weights were fetched is lost
            file.write(content)
    except OSError as error:
        raise UnusableInputError(f"cannot write {path}: {error.strerror}; name another --output") from error
