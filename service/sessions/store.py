"""What every session store offers; `memory` is one."""

from collections.abc import Sequence
from typing import Protocol

from service.sessions.session import Session


class SessionStore(Protocol):
    """Keeps sessions. Every look-up is by tenant: another tenant's session does not exist."""

    async def create(self, session: Session) -> None:
        """Keep a new session; it is durable, as far as the store is, when this returns.

        Raises:
            TooLargeError: it alone exceeds the store's budget.
        """
        ...

    async def get(self, tenant: str, session_id: str) -> Session:
        """Give a session.

        Raises:
            SessionNotFoundError: it never existed, or belongs to another tenant.
            SessionGoneError: it has expired, or was deleted or evicted.
        """
        ...

    async def list(self, tenant: str, *, after: str | None, limit: int) -> Sequence[Session]:
        """Give up to `limit` sessions whose id is greater than `after`, in the order of their ids: oldest first."""
        ...

    async def delete(self, tenant: str, session_id: str) -> None:
        """End a session; raises as `get` does."""
        ...
