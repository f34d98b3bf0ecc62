"""The commands for adapted weights as files: export, import."""

from pathlib import Path
from typing import Annotated

import typer

from innerloop.calls import Format
from innerloop.cli.options import Json, Lifetime, Name, Revision, SessionId, Url
from innerloop.cli.terminal import show_json, show_session
from innerloop.client import DEFAULT_URL, Client
from innerloop.errors import UnusableInputError


def export(  # noqa: PLR0913 - every option of the command is an argument
    session_id: SessionId,
    format: Annotated[Format, typer.Option(help="safetensors can be imported again, onnx runs elsewhere.")] = "safetensors",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write; SESSION.safetensors or .onnx when absent.")] = None,
    revision: Revision = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Write the adapted weights of a session to a file."""
    path = output or Path(f"{session_id}.{format}")
    if path.exists() and not force:
        raise UnusableInputError(f"{path} is there already; name another --output, or overwrite it with --force")
    with Client(url) as client:
        content = client.session(session_id).export(format, revision)
    _write(path, content, force=force)
    if as_json:
        show_json({"session": session_id, "file": str(path), "bytes": len(content)})
    else:
        typer.echo(f"wrote {path}")


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
