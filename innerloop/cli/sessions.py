"""The commands for whole sessions: adapt, fork, predict, classify, list, change, delete."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from innerloop.address import DEFAULT_URL
from innerloop.cli.options import Folder, Images, Json, KeepSupport, Lifetime, Model, Name, Nearest, Revision, SessionId, TopK, Url
from innerloop.cli.progress import reading_queries
from innerloop.cli.supports import Given, naming, queries_of, support_of
from innerloop.cli.terminal import sessions_table, show, show_answers, show_json, show_session
from innerloop.client import Client


def adapt(  # noqa: PLR0913 - every option of the command is an argument
    examples: Folder,
    model: Model = None,
    steps: Annotated[int | None, typer.Option(help="Inner steps; the meta-model's default when absent.")] = None,
    scope: Annotated[str | None, typer.Option(help="Which parameters move; the meta-model's default when absent.")] = None,
    name: Name = None,
    ttl_seconds: Lifetime = None,
    keep_support: KeepSupport = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Adapt a meta-model to a folder of labelled images, or to a CSV file; the result is a session."""
    given = support_of(examples)
    with Client(url) as client, naming(given, by_default=model is None), given.sending() as watched:
        session = client.adapt(model, watched, steps=steps, scope=scope, name=name, ttl_seconds=ttl_seconds, keep_support=keep_support)
    show_session(session.info, as_json=as_json)


def fork(  # noqa: PLR0913 - every option of the command is an argument
    session_id: SessionId,
    examples: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="More examples: class folders, a zip of them, or a CSV file.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Inner steps; as the session has them when absent.")] = None,
    scope: Annotated[str | None, typer.Option(help="Which parameters move; as the session has it when absent.")] = None,
    name: Name = None,
    ttl_seconds: Lifetime = None,
    keep_support: KeepSupport = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Make another session from the support set of one, and from more examples if given."""
    given = Given({}, ()) if examples is None else support_of(examples)
    with Client(url) as client, naming(given), given.sending() as watched:
        session = client.session(session_id).fork(
            watched or None, steps=steps, scope=scope, name=name, ttl_seconds=ttl_seconds, keep_support=keep_support
        )
    show_session(session.info, as_json=as_json)


def predict(  # noqa: PLR0913 - every option of the command is an argument
    session_id: SessionId,
    images: Images,
    top_k: TopK = 3,
    nearest: Nearest = 0,
    revision: Revision = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Classify images, or rows of CSV files, with a session; one that predicts numbers predicts those of the rows."""
    asked = queries_of(images)
    with Client(url) as client, naming(queries=asked.names), reading_queries(asked.inputs) as queries:
        session = client.session(session_id)
        if session.labels:
            show_answers(asked.names, session.predict(queries, top_k=top_k, nearest=nearest, revision=revision), as_json=as_json)
        else:
            show_answers(asked.names, session.estimate(queries, nearest=nearest, revision=revision), as_json=as_json)


def classify(  # noqa: PLR0913 - every option of the command is an argument
    examples: Folder,
    images: Images,
    model: Model = None,
    steps: Annotated[int | None, typer.Option(help="Inner steps; the meta-model's default when absent.")] = None,
    scope: Annotated[str | None, typer.Option(help="Which parameters move; the meta-model's default when absent.")] = None,
    top_k: TopK = 3,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Classify images, or rows of CSV files, by labelled ones, in one go; no session is kept."""
    given, asked = support_of(examples), queries_of(images)
    with Client(url) as client, naming(given, queries=asked.names, by_default=model is None):
        if given.regression:
            show_answers(asked.names, client.estimate(model, given.support, asked.inputs, steps=steps, scope=scope), as_json=as_json)
        else:
            answer = client.predict(model, given.support, asked.inputs, steps=steps, scope=scope, top_k=top_k)
            show_answers(asked.names, answer, as_json=as_json)


def sessions(
    name: Annotated[str | None, typer.Option(help="Only those of this name.")] = None,
    model: Annotated[str | None, typer.Option(help="Only those of this meta-model, name or name@version.")] = None,
    created_from: Annotated[datetime | None, typer.Option(help="Only those made then or later, local time.")] = None,
    created_until: Annotated[datetime | None, typer.Option(help="Only those made before then, local time.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List the sessions of the server, oldest first."""
    with Client(url) as client:
        found = client.sessions(name=name, model=model, created_from=_zoned(created_from), created_until=_zoned(created_until))
        infos = [session.info for session in found]
    if as_json:
        show_json([info.model_dump(mode="json") for info in infos])
    else:
        show(sessions_table(infos))


def change(
    session_id: SessionId,
    name: Name = None,
    pinned: Annotated[bool | None, typer.Option("--pin/--no-pin", help="A pinned session never expires.")] = None,
    ttl_seconds: Annotated[float | None, typer.Option(help="Lifetime in seconds from now.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Rename, pin or unpin a session, or let it live longer."""
    if name is None and pinned is None and ttl_seconds is None:
        raise typer.BadParameter("expected something to change: --name, --pin, --no-pin or --ttl-seconds")
    with Client(url) as client:
        session = client.session(session_id).change(name=name, pinned=pinned, ttl_seconds=ttl_seconds)
    show_session(session.info, as_json=as_json)


def delete(session_id: SessionId, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Delete a session."""
    with Client(url) as client:
        client.session(session_id).delete()
    if as_json:
        show_json({"deleted": session_id})
    else:
        typer.echo(f"deleted {session_id}")


def _zoned(moment: datetime | None) -> datetime | None:
    """The moment with the local time zone: a terminal speaks local time, the server wants a zone."""
    return None if moment is None else moment.astimezone()
