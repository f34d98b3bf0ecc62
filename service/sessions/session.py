"""Sessions and their revisions, as values."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from safetensors.torch import save
from torch import Tensor

# What a session costs beside its weights: labels, losses and the dictionary entries around them.
OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable state of a session.

    Attributes:
        number: counted from 1.
        weights: adapted parameters by name.
        weights_digest: sha256 of them as safetensors bytes.
        labels: the classes, sorted; row k of the head is labels[k].
        shots: support examples of each class.
        losses: support loss before the first inner step and after each one.
        leave_one_out_accuracy: 0..1, None when no class has two examples.
    """

    number: int
    weights: Mapping[str, Tensor]
    weights_digest: str
    labels: tuple[str, ...]
    shots: tuple[int, ...]
    scope: str
    steps: int
    losses: tuple[float, ...]
    leave_one_out_accuracy: float | None

    @property
    def size_bytes(self) -> int:
        """What the revision takes in memory, about."""
        return OVERHEAD_BYTES + sum(value.nbytes for value in self.weights.values()) + sum(map(len, self.labels))


@dataclass(frozen=True, slots=True)
class Session:
    """One adapted meta-model, owned by one tenant.

    Attributes:
        model: `name@version`, pinned at creation.
        weights_sha256: of the meta-model's weights, so that others under the same name are refused.
        revision: the newest one.
    """

    id: str
    tenant: str
    name: str | None
    model: str
    weights_sha256: str
    revision: Revision
    created_at: datetime
    expires_at: datetime


def new_session_id(now: datetime) -> str:
    """Give an unguessable id; ids sort by the millisecond they were made in."""
    return f"ses_{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"


def digest(weights: Mapping[str, Tensor]) -> str:
    """Identify adapted weights by content: sha256 of their safetensors bytes, names sorted."""
    return hashlib.sha256(save({name: weights[name].cpu().contiguous() for name in sorted(weights)})).hexdigest()
