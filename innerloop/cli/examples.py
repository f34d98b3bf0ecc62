"""The commands for the support set of a session: grow, remove, list."""

from typing import Annotated

import typer

from innerloop.address import DEFAULT_URL
from innerloop.cli.options import Folder, Json, SessionId, Url
from innerloop.cli.supports import naming, support_of
from innerloop.cli.terminal import examples_table, show, show_json, show_session
from innerloop.client import Client


def grow(session_id: SessionId, examples: Folder, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Add labelled images, or rows of a CSV file, to a session, new classes too; the result is its next revision."""
    given = support_of(examples)
    with Client(url) as client, naming(given), given.sending() as watched:
        session = client.session(session_id).add(watched)
    show_session(session.info, as_json=as_json)


def remove(
    session_id: SessionId,
    ids: Annotated[list[int], typer.Argument(metavar="ID", help="Ids of examples, as the command examples lists them.")],
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Remove examples from a session; the result is its next revision."""
    with Client(url) as client:
        session = client.session(session_id).remove(ids)
    show_session(session.info, as_json=as_json)


def examples(session_id: SessionId, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List the examples that a session was adapted to."""
    with Client(url) as client:
        found = list(client.session(session_id).examples())
    if as_json:
        show_json([example.model_dump(mode="json") for example in found])
    else:
        show(examples_table(found))
