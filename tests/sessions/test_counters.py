from collections.abc import Iterator
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from service.sessions.memory import OVERHEAD_BYTES, MemoryStore
from tests.sessions.stores import Blocking, session
from tests.tiny import FakeClock

CLOCK = FakeClock()


@pytest.fixture
def store() -> Iterator[Blocking]:
    """Room for a few sessions."""
    blocking = Blocking(MemoryStore(budget_bytes=4 * OVERHEAD_BYTES, clock=CLOCK))
    yield blocking
    blocking.close()


def evicted(reason: str) -> float:
    return REGISTRY.get_sample_value("innerloop_evicted_total", {"tier": "store", "reason": reason}) or 0.0


def test_a_memory_store_counts_what_it_gives_up_by_reason(store: Blocking) -> None:
    before = {reason: evicted(reason) for reason in ("room", "expired", "deleted")}
    deleted, expiring = session(CLOCK), session(CLOCK)
    store.create(deleted)
    store.delete(deleted.tenant, deleted.id)
    store.create(expiring)
    CLOCK.now = expiring.expires_at + timedelta(seconds=1)
    assert store.list(expiring.tenant) == []
    for _ in range(10):
        store.create(session(CLOCK))
    left = len(store.list(expiring.tenant))
    counted = {reason: evicted(reason) - count for reason, count in before.items()}
    assert counted == {"deleted": 1, "expired": 1, "room": 10 - left}
    assert 0 < left < 10
