"""Sessions and their revisions, as values; weights and support sets are bytes beside them."""

import secrets
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable state of a session; its adapted weights are kept beside it, as bytes.

    Attributes:
        number: counted from 1.
        weights_digest: sha256 of the adapted weights as safetensors bytes.
        labels: the classes, sorted; row k of the head is labels[k].
        shots: support examples of each class.
        losses: support loss before the first inner step and after each one.
        leave_one_out_accuracy: 0..1, None when no class has two examples.
        refitted: whether it was made because the weights of the one before were lost.
        reach: squared distance from its nearest class at which a query is unlike every class; None where it was not measured.
        length: of its vectors; None for pictures, and for a revision from before it was kept, whose meta-model allows one only.
    """

    number: int
    weights_digest: str
    labels: tuple[str, ...]
    shots: tuple[int, ...]
    scope: str
    steps: int
    losses: tuple[float, ...]
    leave_one_out_accuracy: float | None
    created_at: datetime
    refitted: bool = False
    reach: float | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """One adapted meta-model, owned by one tenant.

    Attributes:
        model: `name@version`, pinned at creation.
        weights_sha256: of the meta-model's weights, so that others under the same name are refused.
        revision: the newest one, unless an older one was asked for.
        expires_at: counted from creation or the last change of it; while the session is pinned it does not count.
        pinned: it neither expires nor is evicted.
        keeps_support: whether its support set is kept, so that it can grow or be refitted.
    """

    id: str
    tenant: str
    name: str | None
    model: str
    weights_sha256: str
    revision: Revision
    created_at: datetime
    expires_at: datetime
    pinned: bool = False
    keeps_support: bool = True

    def has_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return not self.pinned and self.expires_at <= now


def new_session_id(now: datetime) -> str:
    """Give an unguessable id; ids sort by the millisecond they were made in."""
    return f"ses_{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"
