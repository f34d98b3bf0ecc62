"""The sessions that went by last, for when their store is away."""

from collections import OrderedDict

from service.sessions.session import Session


class LastSeen:
    """The newest state seen of each session: at most `count` of them, those seen longest ago leave first."""

    def __init__(self, count: int) -> None:
        self._count = count
        # None marks one that ended: an answer that was on its way before does not bring it back.
        self._sessions: OrderedDict[str, Session | None] = OrderedDict()

    def saw(self, session: Session) -> None:
        """Note a session, unless something newer is known."""
        known = self._sessions.setdefault(session.id, session)
        if known is not None and known.revision.number <= session.revision.number:
            self._sessions[session.id] = session
        self._bound(session.id)

    def ended(self, session_id: str) -> None:
        """Forget a session for good."""
        self._sessions[session_id] = None
        self._bound(session_id)

    def get(self, session_id: str) -> Session | None:
        """Give the last state seen, if the session is not known to have ended."""
        return self._sessions.get(session_id)

    def _bound(self, session_id: str) -> None:
        self._sessions.move_to_end(session_id)
        if len(self._sessions) > self._count:
            self._sessions.popitem(last=False)
