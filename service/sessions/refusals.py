"""What every store says in the same words."""

from service.errors import (
    IdempotencyKeyBusyError,
    IdempotencyKeyReusedError,
    RevisionChangedError,
    RevisionGoneError,
    RevisionNotFoundError,
    SessionDamagedError,
    SessionGoneError,
    SessionNotFoundError,
)
from service.sessions.session import Session
from service.sessions.store import REVISIONS_KEPT, Claim


def never_was(session_id: str) -> SessionNotFoundError:
    """No such session, or another tenant's."""
    return SessionNotFoundError(f"no session {session_id!r}; GET /v1/sessions lists yours")


def ended(session_id: str, why: str) -> SessionGoneError:
    """Why a session is gone: `has expired`, `was deleted`, `was evicted to make room`."""
    return SessionGoneError(f"session {session_id!r} {why}; adapt again with POST /v1/sessions")


def absent_revision(session: Session, number: int) -> RevisionNotFoundError | RevisionGoneError:
    """Why a living session has no revision of this number."""
    newest = session.revision.number
    if 1 <= number < newest:
        return RevisionGoneError(f"revision {number} of session {session.id!r} is no longer kept, only the newest {REVISIONS_KEPT}")
    return RevisionNotFoundError(f"session {session.id!r} has no revision {number}; its newest is {newest}", field="revision")


def changed(session: Session, number: int) -> RevisionChangedError:
    """Another revision came first."""
    return RevisionChangedError(f"expected revision {number} of session {session.id!r} to be the newest, it is {session.revision.number}")


def missing(session: Session, what: str) -> SessionDamagedError:
    """The session is there, but not its weights or support set."""
    return SessionDamagedError(f"the {what} of session {session.id!r} are missing; adapt again with POST /v1/sessions")


def reply_to(claim: Claim, *, fingerprint: str, body: bytes | None) -> bytes:
    """Give the reply of a key that is held already, for the same request.

    Raises:
        IdempotencyKeyReusedError: it was another request.
        IdempotencyKeyBusyError: there is no reply yet.
    """
    if fingerprint != claim.fingerprint:
        raise IdempotencyKeyReusedError(
            f"Idempotency-Key {claim.key!r} came with another request before; use a new key for another request", field="Idempotency-Key"
        )
    if body is None:
        raise IdempotencyKeyBusyError(f"the first request with Idempotency-Key {claim.key!r} is still running; try again in a moment")
    return body
