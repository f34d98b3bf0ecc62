"""What the tiers count; `GET /metrics` shows it."""

from prometheus_client import Counter

EVICTED = Counter("innerloop_evicted", "Sessions or adapted weights given up, by tier (device, host, store) and reason", ["tier", "reason"])
LOADED = Counter("innerloop_weights_loaded", "Adapted weights read from the session store into this process's memory")
REFITTED = Counter("innerloop_refitted", "Revisions made anew because stored weights were lost or damaged")

# What a caller hears of a session that is gone, and what is counted.
_REASONS = {"was evicted to make room": "room", "has expired": "expired", "was deleted": "deleted"}


def count_ended(why: str, sessions: int = 1) -> None:
    """Count sessions that this process ended in its store; those that Redis lets expire by itself are not among them."""
    EVICTED.labels(tier="store", reason=_REASONS[why]).inc(sessions)
