"""Every session store, behind one face without `await`, and sessions to put into them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch

from service.sessions.memory import MemoryStore
from service.sessions.session import Revision, Session, digest, new_session_id
from service.sessions.store import SessionStore
from tests.tiny import FakeClock

T = TypeVar("T")

# Makes a store, empty and large enough, that reads this clock.
STORES: Mapping[str, Callable[[FakeClock], SessionStore]] = {
    "memory": lambda clock: MemoryStore(budget_bytes=10**9, clock=clock),
}


class Blocking:
    """A store whose calls return when they are done, all on one event loop. Close it."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._loop = asyncio.Runner()

    def create(self, session: Session) -> None:
        self._run(self._store.create(session))

    def get(self, tenant: str, session_id: str) -> Session:
        return self._run(self._store.get(tenant, session_id))

    def list(self, tenant: str, *, after: str | None = None, limit: int = 100) -> Sequence[Session]:
        return self._run(self._store.list(tenant, after=after, limit=limit))

    def delete(self, tenant: str, session_id: str) -> None:
        self._run(self._store.delete(tenant, session_id))

    def close(self) -> None:
        self._loop.close()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(call)


def session(clock: FakeClock, *, tenant: str = "ann", lives: timedelta = timedelta(hours=1), seed: int = 0, width: int = 4) -> Session:
    """A session made now, its weights drawn from a seed: 12 · width + 12 bytes."""
    weights = {"head.weight": torch.rand(3, width, generator=torch.Generator().manual_seed(seed)), "head.bias": torch.zeros(3)}
    revision = Revision(
        number=1,
        weights=weights,
        weights_digest=digest(weights),
        labels=("bird", "cat", "été"),
        shots=(1, 2, 3),
        scope="head",
        steps=2,
        losses=(1.5, 0.5, 0.25),
        leave_one_out_accuracy=None if seed % 2 else 0.75,
    )
    return Session(
        id=new_session_id(clock()),
        tenant=tenant,
        name=None if seed % 2 else f"session {seed}",
        model="tiny@1",
        weights_sha256="0" * 64,
        revision=revision,
        created_at=clock(),
        expires_at=clock() + lives,
    )


def content(kept: Session) -> tuple[object, ...]:
    """Everything in a session, comparable; a store may give an equal session in place of the same one."""
    revision = kept.revision
    weights = tuple(
        (name, value.dtype, tuple(value.shape), value.cpu().numpy().tobytes()) for name, value in sorted(revision.weights.items())
    )
    plain = (revision.number, revision.weights_digest, revision.labels, revision.shots, revision.scope, revision.steps)
    measured = (revision.losses, revision.leave_one_out_accuracy)
    return (kept.id, kept.tenant, kept.name, kept.model, kept.weights_sha256, kept.created_at, kept.expires_at, weights, plain, measured)
