"""Which keys Redis holds for us, what is in them and how long they stay."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.sessions.records import dump_revision
from service.sessions.session import Revision, Session
from service.sessions.store import REMEMBERED_FOR, REPLIES_KEPT_FOR, Claim, Contents, Reply

# Our clock says whether something has expired. Redis only clears away, and so much later, because clocks differ.
CLEARED_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of our keys, all of which begin with a prefix."""

    prefix: str

    @property
    def schema(self) -> str:
        """The version of all that is described here."""
        return f"{self.prefix}:schema"

    def record(self, session_id: str) -> str:
        """A session as JSON."""
        return f"{self.prefix}:session:{session_id}"

    def contents(self, session_id: str) -> str:
        """A hash of a session's `weights:<n>` and `revision:<n>`, and its newest `support`."""
        return f"{self.prefix}:contents:{session_id}"

    def tombstone(self, session_id: str) -> str:
        """Why a session is gone, as JSON, in the place of its record."""
        return f"{self.prefix}:gone:{session_id}"

    def ids(self, tenant: str) -> str:
        """A sorted set of a tenant's ids; all scores are 0, so that they are in the order of the alphabet."""
        return f"{self.prefix}:ids:{tenant}"

    def claim(self, claim: Claim) -> str:
        """A hash of fingerprint, until (ms since 1970) and, once it is answered, body."""
        return f"{self.prefix}:claim:{len(claim.tenant)}:{claim.tenant}:{claim.key}"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Why a session of a tenant is gone, and since when."""

    tenant: str
    why: str
    at: datetime

    @staticmethod
    def load(packed: bytes) -> "Tombstone":
        """Read what `dump` wrote."""
        plain = json.loads(packed)
        return Tombstone(plain["tenant"], plain["why"], datetime.fromisoformat(plain["at"]))

    def dump(self) -> str:
        """Write it as JSON."""
        return json.dumps({"tenant": self.tenant, "why": self.why, "at": self.at.isoformat()})


def lifetimes(session: Session, now: datetime) -> tuple[int, int]:
    """Give how many milliseconds its record and its contents stay; 0 is for ever."""
    if session.pinned:
        return 0, 0
    contents = max(session.expires_at - now, timedelta(0)) + CLEARED_AFTER
    return milliseconds(contents + REMEMBERED_FOR), milliseconds(contents)


def fields_of(revision: Revision, contents: Contents) -> list[str | bytes]:
    """Give the fields of the hash that a revision brings, each with its value behind it."""
    fields: list[str | bytes] = [f"revision:{revision.number}", dump_revision(revision), f"weights:{revision.number}", contents.weights]
    return fields if contents.support is None else [*fields, "support", contents.support]


def answer_of(reply: Reply, now: datetime) -> list[str | bytes | int]:
    """Give what becomes of a claim that is answered: fingerprint, until, milliseconds to stay, body."""
    stays = milliseconds(REPLIES_KEPT_FOR + CLEARED_AFTER)
    return [reply.claim.fingerprint, since_1970(now + REPLIES_KEPT_FOR), stays, reply.body]


def milliseconds(length: timedelta) -> int:
    """Give whole milliseconds."""
    return length // timedelta(milliseconds=1)


def since_1970(moment: datetime) -> int:
    """Give whole milliseconds since 1970, which Lua compares exactly."""
    return int(moment.timestamp() * 1000)
