"""Sessions as the bytes that a store keeps: JSON, read back with every field checked."""

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from service.errors import SessionDamagedError
from service.sessions.session import Revision, Session

T = TypeVar("T")

_SESSION = TypeAdapter(Session)
_REVISION = TypeAdapter(Revision)


def dump_session(session: Session) -> bytes:
    """Write a session, its revision included."""
    return _SESSION.dump_json(session)


def load_session(record: bytes) -> Session:
    """Read a session.

    Raises:
        SessionDamagedError: the record is not one.
    """
    return _load(_SESSION, record)


def dump_revision(revision: Revision) -> bytes:
    """Write a revision."""
    return _REVISION.dump_json(revision)


def load_revision(record: bytes) -> Revision:
    """Read a revision; raises as `load_session` does."""
    return _load(_REVISION, record)


def _load(kind: TypeAdapter[T], record: bytes) -> T:
    try:
        return kind.validate_json(record)
    except ValidationError:
        raise SessionDamagedError("the store's record of this session is damaged; adapt again with POST /v1/sessions") from None
