"""What a session knows of itself, blocking or async."""

from dataclasses import dataclass

from innerloop.wire import AdaptedSession, SessionInfo


@dataclass(frozen=True, slots=True)
class Adapted:
    """A session as the server described it."""

    info: SessionInfo

    @property
    def id(self) -> str:
        return self.info.session

    @property
    def labels(self) -> tuple[str, ...]:
        return self.info.labels

    @property
    def revision(self) -> int:
        """The newest one when the server described the session."""
        return self.info.revision

    @property
    def added(self) -> tuple[int, ...]:
        """Ids of the examples that the call sent which gave this session, in their order; none when it was looked up."""
        return self.info.added if isinstance(self.info, AdaptedSession) else ()
