from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from service.errors import SessionGoneError, SessionNotFoundError, StoreFullError, TooLargeError
from service.sessions import memory
from service.sessions.memory import OVERHEAD_BYTES, MemoryStore
from service.sessions.store import Contents
from tests.sessions.stores import Blocking, contents_of, grown, pinned, session
from tests.tiny import FakeClock

CLOCK = FakeClock()
ONE = OVERHEAD_BYTES + 300 + len(b"support ") + 300 + sum(map(len, session(CLOCK).revision.labels))


@pytest.fixture
def store() -> Iterator[Blocking]:
    """Room for exactly three sessions."""
    blocking = Blocking(MemoryStore(budget_bytes=3 * ONE, clock=CLOCK))
    yield blocking
    blocking.close()


def filled(store: Blocking, count: int, *, tenant: str = "ann") -> list[str]:
    made = [session(CLOCK, tenant=tenant) for _ in range(count)]
    for each in made:
        store.create(each)
    return [each.id for each in made]


def listed(store: Blocking, tenant: str = "ann") -> set[str]:
    return {each.id for each in store.list(tenant)}


def test_sessions_that_fit_the_budget_all_stay(store: Blocking) -> None:
    assert set(filled(store, 3)) == listed(store)


def test_over_the_budget_the_one_used_longest_ago_goes_and_says_why(store: Blocking) -> None:
    first, second, third = filled(store, 3)
    store.get("ann", first)
    (fourth,) = filled(store, 1)
    assert listed(store) == {first, third, fourth}
    with pytest.raises(SessionGoneError, match="was evicted to make room"):
        store.get("ann", second)


def test_a_failed_look_by_another_tenant_is_no_use(store: Blocking) -> None:
    first, *_ = filled(store, 3)
    with pytest.raises(SessionNotFoundError):
        store.get("bob", first)
    filled(store, 1)
    assert first not in listed(store)


def test_a_large_session_makes_as_much_room_as_it_needs(store: Blocking) -> None:
    *_, third = filled(store, 3)
    large = session(CLOCK)
    store.create(large, Contents(bytes(ONE), None))
    assert listed(store) == {third, large.id}


def test_a_session_larger_than_the_budget_is_refused_and_evicts_nothing(store: Blocking) -> None:
    kept = set(filled(store, 3))
    with pytest.raises(TooLargeError, match=f"at most {3 * ONE:,} bytes"):
        store.create(session(CLOCK), Contents(bytes(3 * ONE), None))
    assert listed(store) == kept


def test_deleted_and_expired_sessions_give_their_bytes_back(store: Blocking) -> None:
    first, *others = filled(store, 3)
    store.delete("ann", first)
    short = replace(session(CLOCK), expires_at=CLOCK())
    store.create(short)
    (last,) = filled(store, 1)
    assert listed(store) == {*others, last}


def test_pinned_sessions_are_never_evicted(store: Blocking) -> None:
    first, _, third = filled(store, 3)
    store.update("ann", first, pinned)
    (fourth,) = filled(store, 1)
    assert listed(store) == {first, third, fourth}
    for each in (third, fourth):
        store.update("ann", each, pinned)
    with pytest.raises(StoreFullError, match="pinned"):
        filled(store, 1)
    assert listed(store) == {first, third, fourth}


def test_growing_makes_room_of_others_and_never_of_the_session_itself(store: Blocking) -> None:
    first, _, third = filled(store, 3)
    kept = store.get("ann", first)
    store.append(kept, grown(kept, CLOCK), contents_of(kept))
    assert listed(store) == {first, third}
    kept = store.get("ann", first)
    with pytest.raises(TooLargeError):
        store.append(kept, grown(kept, CLOCK), Contents(bytes(3 * ONE), None))
    assert store.get("ann", first) == kept


def test_only_the_newest_ends_are_remembered(store: Blocking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "REMEMBERED_COUNT", 2)
    first, second, third = filled(store, 3)
    for each in (first, second, third):
        store.delete("ann", each)
    with pytest.raises(SessionNotFoundError):
        store.get("ann", first)
    for each in (second, third):
        with pytest.raises(SessionGoneError):
            store.get("ann", each)


def test_sessions_that_ended_early_leave_nothing_that_grows() -> None:
    inner = MemoryStore(budget_bytes=100 * ONE, clock=CLOCK)
    store = Blocking(inner)
    kept = filled(store, 5)
    for _ in range(3000):
        (made,) = filled(store, 1)
        store.delete("ann", made)
    assert len(inner._expiries) < 1100
    assert listed(store) == set(kept)
    CLOCK.now += timedelta(hours=1)
    assert listed(store) == set()
    store.close()
