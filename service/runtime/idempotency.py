"""Requests that may come twice: the second is answered as the first was, and nothing is done again."""

import asyncio
import hashlib
import json
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from service.runtime.caller import Caller
from service.runtime.fitting import Spent
from service.runtime.support_set import Labelled
from service.sessions.session import Session
from service.sessions.store import Claim, Reply, SessionStore


@dataclass(frozen=True, slots=True)
class Made:
    """A session with its new revision.

    Attributes:
        added: ids of the examples that came with it.
        replayed: an earlier request with the same Idempotency-Key made it.
    """

    session: Session
    spent: Spent
    added: tuple[int, ...] = ()
    replayed: bool = False


_MADE = TypeAdapter(Made)


def reply(claim: Claim | None, made: Made) -> Reply | None:
    """What a store keeps, in the same commit, to answer the request when it comes again."""
    return None if claim is None else Reply(claim, _MADE.dump_json(made))


async def once(store: SessionStore, claim: Claim | None, make: Callable[[Claim | None], Awaitable[Made]]) -> Made:
    """Give what `make` gives, or what it gave when the same request came before; a failure may be tried again.

    Raises:
        IdempotencyKeyBusyError, IdempotencyKeyReusedError: see `SessionStore.claim`.
    """
    if claim is None:
        return await make(None)
    earlier = await store.claim(claim)
    if earlier is not None:
        return replace(_MADE.validate_json(earlier), replayed=True)
    try:
        return await make(claim)
    except BaseException:
        await asyncio.shield(store.release(claim))
        raise


def claimed(caller: Caller, what: Sequence[object], examples: Sequence[Labelled] = ()) -> Claim | None:
    """Name a request by its caller's Idempotency-Key; None without one.

    It is recognised by decoded content and options: the boundaries of multipart differ at each try.
    """
    if caller.idempotency_key is None:
        return None
    known = hashlib.sha256(json.dumps(list(map(str, what))).encode())
    for example in examples:
        content = example.raw.content
        plain = content if isinstance(content, bytes) else struct.pack(f"<{len(content)}d", *content)
        known.update(hashlib.sha256(str(example.label).encode()).digest() + hashlib.sha256(plain).digest())
    return Claim(caller.tenant, caller.idempotency_key, known.hexdigest())
