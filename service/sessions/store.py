"""What every session store offers: `memory`, `sqlite` and `redis` are three. No store knows tensors; it keeps bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, Self

from service.sessions.session import Revision, Session

# The newest revisions of a session; older ones are dropped when another is appended.
REVISIONS_KEPT = 10
# How long a caller hears why a session is gone.
REMEMBERED_FOR = timedelta(days=7)
# How long an answer is kept for a request that comes again with its Idempotency-Key.
REPLIES_KEPT_FOR = timedelta(hours=24)
# A key is held so long for a request that never finishes, as when its server is killed.
CLAIMED_FOR = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a revision is made of, as bytes.

    Attributes:
        weights: adapted parameters, as safetensors.
        support: the support set; None when it is not kept, or the one kept stays as it is.
    """

    weights: bytes
    support: bytes | None


@dataclass(frozen=True, slots=True)
class Claim:
    """One Idempotency-Key of one tenant, and a fingerprint of the request it came with."""

    tenant: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer when the claimed request comes again; kept in the same commit as what it speaks of."""

    claim: Claim
    body: bytes


@dataclass(frozen=True, slots=True)
class Current:
    """The newest state of a session; `stale` when the store is away and this is the last one seen."""

    session: Session
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions of a tenant are meant; None means any.

    Attributes:
        model: `name` or `name@version`.
        created_from: not before it.
        created_until: before it.
    """

    name: str | None = None
    model: str | None = None
    created_from: datetime | None = None
    created_until: datetime | None = None

    def takes(self, session: Session) -> bool:
        """Whether a session is meant."""
        return (
            self.name in (None, session.name)
            and self.model in (None, session.model, session.model.partition("@")[0])
            and (self.created_from is None or session.created_at >= self.created_from)
            and (self.created_until is None or session.created_at < self.created_until)
        )


ANY = Wanted()


class SessionStore(Protocol):
    """Keeps sessions. Every look-up is by tenant: another tenant's session does not exist.

    An async context manager: open from entering to leaving. Every method may raise StoreUnavailableError; those that write,
    StoreFullError. What was written is durable, as far as the store is, when the method returns, and wholly or not at all.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def check(self) -> None:
        """Do nothing, as long as the store can be reached; readiness asks."""
        ...

    async def create(self, session: Session, contents: Contents, *, reply: Reply | None = None) -> None:
        """Keep a new session with its first revision.

        Raises:
            TooLargeError: it alone exceeds the store's budget.
        """
        ...

    async def get(self, tenant: str, session_id: str) -> Session:
        """Give a session and its newest revision.

        Raises:
            SessionNotFoundError: it never existed, or belongs to another tenant.
            SessionGoneError: it has expired, or was deleted or evicted.
        """
        ...

    async def current(self, tenant: str, session_id: str) -> Current:
        """Give what `get` gives, for a prediction: the fastest way there is, and a stale answer rather than none."""
        ...

    async def at(self, tenant: str, session_id: str, number: int) -> Session:
        """Give a session with an older revision in the place of its newest.

        Raises:
            RevisionNotFoundError: there was none with this number yet.
            RevisionGoneError: it is no longer kept.
        """
        ...

    async def weights(self, session: Session) -> bytes:
        """Give the weights of the revision that the session shows, unchecked.

        Raises:
            SessionDamagedError: they are missing, although the session is there.
            RevisionGoneError, SessionGoneError, SessionNotFoundError: it ended meanwhile.
        """
        ...

    async def support(self, session: Session) -> bytes:
        """Give the support set of the newest revision, unchecked.

        Raises:
            SessionDamagedError: it is missing, although the session is there and keeps one.
            SessionGoneError, SessionNotFoundError: it ended meanwhile.
        """
        ...

    async def append(self, session: Session, revision: Revision, contents: Contents, *, reply: Reply | None = None) -> Session:
        """Add a revision to a session as it was read, and give the session with it.

        Raises:
            RevisionChangedError: another revision came first; nothing was added.
            SessionNotFoundError, SessionGoneError: as `get`.
        """
        ...

    async def update(self, tenant: str, session_id: str, change: Callable[[Session], Session]) -> Session:
        """Replace a session's name, expiry or pin by what `change` makes of it, in one step; it may be called more than once.

        Raises as `get` does.
        """
        ...

    async def list(self, tenant: str, *, wanted: Wanted = ANY, after: str | None, limit: int) -> Sequence[Session]:
        """Give up to `limit` sessions whose id is greater than `after`, in the order of their ids: oldest first."""
        ...

    async def delete(self, tenant: str, session_id: str) -> None:
        """End a session; raises as `get` does."""
        ...

    async def delete_all(self, tenant: str, wanted: Wanted) -> int:
        """End every session that is meant, and say how many; of a great many some may have ended when it fails."""
        ...

    async def claim(self, claim: Claim) -> bytes | None:
        """Take an Idempotency-Key for a request that begins; when it was answered before, give that reply's body.

        Raises:
            IdempotencyKeyBusyError: the first request with this key is still running.
            IdempotencyKeyReusedError: the key came with another request.
        """
        ...

    async def release(self, claim: Claim) -> None:
        """Give up the key of a request that failed; one that was answered keeps its reply."""
        ...
