"""What a record or a tombstone means for the tenant who asks."""

from datetime import datetime

import structlog

from service.errors import SessionDamagedError, SessionGoneError, SessionNotFoundError
from service.sessions.records import load_session
from service.sessions.redis.layout import Tombstone
from service.sessions.refusals import ended, never_was
from service.sessions.session import Session
from service.sessions.store import REMEMBERED_FOR

log = structlog.get_logger()


def read(session_id: str, record: bytes) -> Session:
    """Give the session of a record.

    Raises:
        SessionDamagedError: it is not one, or another's.
    """
    session = load_session(record)
    if session.id != session_id:
        raise SessionDamagedError("the store's record of this session is another's; adapt again with POST /v1/sessions")
    return session


def readable(session_id: str, record: bytes) -> Session | None:
    """Give the session of a record for a list, which is no reason to withhold the others when it is damaged."""
    try:
        return read(session_id, record)
    except SessionDamagedError as error:
        log.warning("session damaged", session=session_id, reason=error.message)
        return None


def living(tenant: str, session: Session, *, now: datetime) -> Session:
    """Give the session back, if it is this tenant's.

    Raises:
        SessionNotFoundError, SessionGoneError: it is another's, or has expired.
    """
    if session.tenant != tenant:
        raise never_was(session.id)
    if session.has_expired(now):
        raise _over(session.id, "has expired", since=session.expires_at, now=now)
    return session


def absence(tenant: str, session_id: str, tombstone: bytes | None, *, now: datetime) -> SessionNotFoundError | SessionGoneError:
    """Say why there is no record."""
    gone = None if tombstone is None else Tombstone.load(tombstone)
    if gone is None or gone.tenant != tenant:
        return never_was(session_id)
    return _over(session_id, gone.why, since=gone.at, now=now)


def _over(session_id: str, why: str, *, since: datetime, now: datetime) -> SessionNotFoundError | SessionGoneError:
    return never_was(session_id) if now - since > REMEMBERED_FOR else ended(session_id, why)
