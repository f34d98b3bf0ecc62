"""What the shell offers for a session or a meta-model: the server is asked, briefly, and when it does not answer nothing is offered."""

from collections.abc import Callable, Iterator
from itertools import islice

import typer

from innerloop.address import DEFAULT_URL
from innerloop.client import Client
from innerloop.errors import InnerloopError
from innerloop.retries import Retries

Offer = tuple[str, str]  # what is completed, and what it is

_SECONDS = 1.0
_MOST = 100


def session_ids(ctx: typer.Context, incomplete: str) -> list[Offer]:
    return _offered(ctx, incomplete, lambda client: ((one.id, one.info.name or one.info.model) for one in client.sessions()))


def model_names(ctx: typer.Context, incomplete: str) -> list[Offer]:
    def served(client: Client) -> Iterator[Offer]:
        return ((f"{one.name}@{one.version}", one.status) for one in client.models())

    return _offered(ctx, incomplete, served)


def _offered(ctx: typer.Context, incomplete: str, found: Callable[[Client], Iterator[Offer]]) -> list[Offer]:
    try:
        with Client(ctx.params.get("url") or DEFAULT_URL, timeout=_SECONDS, retries=Retries(tries=1)) as client:
            return list(islice((offer for offer in found(client) if offer[0].startswith(incomplete)), _MOST))
    except InnerloopError:
        return []
