"""The commands of the client half: adapt, predict, sessions, delete."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from innerloop.class_folders import archive, folder
from innerloop.cli.terminal import fail, predictions_json, predictions_table, session_table, sessions_table, show, show_json
from innerloop.client import DEFAULT_URL, Client
from innerloop.errors import ApiError

Url = Annotated[str, typer.Option("--url", envvar="INNERLOOP_URL", help="Address of the server.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The id that adapt printed.")]


def adapt(  # noqa: PLR0913 - every option of the command is an argument
    examples: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with one folder of images per class, or a zip of it.")],
    model: Annotated[str | None, typer.Option(help="Meta-model, name or name@version; the server's default when absent.")] = None,
    steps: Annotated[int | None, typer.Option(help="Inner steps; the meta-model's default when absent.")] = None,
    scope: Annotated[str | None, typer.Option(help="Which parameters move; the meta-model's default when absent.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the session.")] = None,
    ttl_seconds: Annotated[float | None, typer.Option(help="Lifetime; the server's default when absent.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Adapt a meta-model to a folder of labelled images; the result is a session."""
    support = _support(examples)
    with Client(url) as client, _naming(_names(support)):
        session = client.adapt(model, support, steps=steps, scope=scope, name=name, ttl_seconds=ttl_seconds)
    if as_json:
        show_json(session.info.model_dump(mode="json"))
    else:
        show(session_table(session.info))


def predict(
    session_id: SessionId,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Image files to classify.")],
    top_k: Annotated[int, typer.Option(min=1, help="How many labels to show for each image.")] = 3,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Classify images with a session."""
    with Client(url) as client, _naming([str(image) for image in images]):
        answer = client.session(session_id).predict(images, top_k=top_k)
    if as_json:
        show_json(predictions_json(images, answer))
    else:
        show(predictions_table(images, answer))


def sessions(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List the sessions of the server, oldest first."""
    with Client(url) as client:
        infos = [session.info for session in client.sessions()]
    if as_json:
        show_json([info.model_dump(mode="json") for info in infos])
    else:
        show(sessions_table(infos))


def delete(session_id: SessionId, url: Url = DEFAULT_URL) -> None:
    """Delete a session."""
    with Client(url) as client:
        client.session(session_id).delete()
    typer.echo(f"deleted {session_id}")


def _support(path: Path) -> Mapping[str, Sequence[Path | bytes]]:
    return archive(path) if path.suffix.lower() == ".zip" and path.is_file() else folder(path)


def _names(support: Mapping[str, Sequence[Path | bytes]]) -> list[str]:
    """One name for each example, in the order they are sent."""
    return [
        str(one) if isinstance(one, Path) else f"{label}, image {n}" for label, images in support.items() for n, one in enumerate(images, 1)
    ]


@contextmanager
def _naming(names: Sequence[str]) -> Iterator[None]:
    """A refusal that points at an item by number, `support[7]`, names its file as well."""
    try:
        yield
    except ApiError as error:
        item = re.match(r"(?:support|queries)\D(\d+)", error.problem.field or "")
        if item is None or int(item[1]) >= len(names):
            raise
        fail(f"{names[int(item[1])]}: {error}")
