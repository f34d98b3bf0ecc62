"""What every session store keeps to; a new store joins by one line in `stores.STORES`."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from service.errors import SessionGoneError, SessionNotFoundError
from service.sessions.session import Session
from tests.sessions.stores import STORES, Blocking, content, session
from tests.tiny import FakeClock

WEEK = timedelta(days=7)
SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Blocking]:
    blocking = Blocking(STORES[request.param](clock))
    yield blocking
    blocking.close()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_session_comes_back_whole(store: Blocking, clock: FakeClock, seed: int) -> None:
    kept = session(clock, seed=seed)
    store.create(kept)
    assert content(store.get("ann", kept.id)) == content(kept)


def test_what_never_existed_is_not_found(store: Blocking, clock: FakeClock) -> None:
    store.create(session(clock))
    for unknown in ("ses_0", "", "nothing", session(clock).id):
        with pytest.raises(SessionNotFoundError, match="no session"):
            store.get("ann", unknown)
        with pytest.raises(SessionNotFoundError):
            store.delete("ann", unknown)


def test_what_was_deleted_is_gone(store: Blocking, clock: FakeClock) -> None:
    kept, other = session(clock), session(clock)
    store.create(kept)
    store.create(other)
    store.delete("ann", kept.id)
    with pytest.raises(SessionGoneError, match="was deleted"):
        store.get("ann", kept.id)
    with pytest.raises(SessionGoneError, match="was deleted"):
        store.delete("ann", kept.id)
    assert [each.id for each in store.list("ann")] == [other.id]


def test_a_session_ends_at_its_time_and_not_before(store: Blocking, clock: FakeClock) -> None:
    made = [session(clock, lives=timedelta(hours=2)) for _ in range(3)]
    for each in made:
        store.create(each)
    clock.now = made[0].expires_at - SECOND
    assert {content(each) for each in store.list("ann")} == {content(store.get("ann", each.id)) for each in made}
    clock.now = made[0].expires_at
    with pytest.raises(SessionGoneError, match="has expired"):
        store.get("ann", made[0].id)
    with pytest.raises(SessionGoneError, match="has expired"):
        store.delete("ann", made[1].id)
    assert store.list("ann") == []


def test_using_a_session_does_not_lengthen_its_life(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock, lives=timedelta(hours=2))
    store.create(kept)
    for _ in range(3):
        clock.now += timedelta(minutes=39)
        store.get("ann", kept.id)
        store.list("ann")
    clock.now += timedelta(minutes=39)
    with pytest.raises(SessionGoneError):
        store.get("ann", kept.id)


@pytest.mark.parametrize("looked_at", [True, False])
def test_the_end_of_a_session_is_remembered_for_a_week(store: Blocking, clock: FakeClock, looked_at: bool) -> None:
    expired, deleted = session(clock, lives=timedelta(hours=1)), session(clock)
    store.create(expired)
    store.create(deleted)
    clock.now = expired.expires_at - SECOND
    store.delete("ann", deleted.id)
    if looked_at:
        clock.now = expired.expires_at
        store.list("ann")
    clock.now = expired.expires_at + WEEK - 2 * SECOND
    for ended in (expired, deleted):
        with pytest.raises(SessionGoneError):
            store.get("ann", ended.id)
    clock.now += 3 * SECOND
    for ended in (expired, deleted):
        with pytest.raises(SessionNotFoundError):
            store.get("ann", ended.id)


def test_another_tenants_session_does_not_exist(store: Blocking, clock: FakeClock) -> None:
    hers, his = session(clock, tenant="ann"), session(clock, tenant="bob")
    store.create(hers)
    store.create(his)
    with pytest.raises(SessionNotFoundError):
        store.get("bob", hers.id)
    with pytest.raises(SessionNotFoundError):
        store.delete("bob", hers.id)
    assert [each.id for each in store.list("bob")] == [his.id]
    assert content(store.get("ann", hers.id)) == content(hers)


def test_another_tenants_ended_session_does_not_exist_either(store: Blocking, clock: FakeClock) -> None:
    deleted, expired = session(clock), session(clock)
    store.create(deleted)
    store.create(expired)
    store.delete("ann", deleted.id)
    clock.now = expired.expires_at
    for ended in (deleted, expired):
        with pytest.raises(SessionNotFoundError):
            store.get("bob", ended.id)


def test_listing_goes_through_all_sessions_oldest_first(store: Blocking, clock: FakeClock) -> None:
    made = []
    for index in range(7):
        made.append(session(clock, seed=index))
        store.create(made[-1])
        store.create(session(clock, tenant="bob"))
        clock.now += SECOND
    ids = [each.id for each in made]
    for first in (0, 3, 6):
        page = store.list("ann", after=ids[first - 1] if first else None, limit=3)
        assert [each.id for each in page] == ids[first : first + 3]
    assert [content(each) for each in store.list("ann")] == [content(each) for each in made]


def test_a_page_after_an_ended_session_goes_on_behind_it(store: Blocking, clock: FakeClock) -> None:
    made = []
    for _ in range(3):
        made.append(session(clock))
        store.create(made[-1])
        clock.now += SECOND
    store.delete("ann", made[1].id)
    assert [each.id for each in store.list("ann", after=made[1].id)] == [made[2].id]
    assert store.list("ann", after=made[2].id) == []
    assert store.list("nobody") == []


class StoreMachine(RuleBasedStateMachine):
    """Any order of calls, beside a plain dictionary."""

    ids = Bundle("ids")
    tenants = st.sampled_from(["ann", "bob"])

    def __init__(self, name: str) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.store = Blocking(STORES[name](self.clock))
        self.made: dict[str, Session] = {}
        self.deleted: dict[str, datetime] = {}

    def teardown(self) -> None:
        self.store.close()

    @rule(target=ids, tenant=tenants, hours=st.integers(1, 400), seed=st.integers(0, 3))
    def create(self, tenant: str, hours: int, seed: int) -> str:
        kept = session(self.clock, tenant=tenant, lives=timedelta(hours=hours), seed=seed)
        self.store.create(kept)
        self.made[kept.id] = kept
        return kept.id

    # No whole hours: what happens at the very moment of an end has tests of its own.
    @rule(seconds=st.sampled_from([1, 1801, 36_007, 400_009]))
    def wait(self, seconds: int) -> None:
        self.clock.now += timedelta(seconds=seconds)

    @rule(tenant=tenants, session_id=ids)
    def get(self, tenant: str, session_id: str) -> None:
        error = self.expected_error(tenant, session_id)
        if error is None:
            assert content(self.store.get(tenant, session_id)) == content(self.made[session_id])
        else:
            with pytest.raises(error):
                self.store.get(tenant, session_id)

    @rule(tenant=tenants, session_id=ids)
    def delete(self, tenant: str, session_id: str) -> None:
        error = self.expected_error(tenant, session_id)
        if error is None:
            self.store.delete(tenant, session_id)
            self.deleted[session_id] = self.clock()
        else:
            with pytest.raises(error):
                self.store.delete(tenant, session_id)

    @rule(tenant=tenants, after=st.none() | ids, limit=st.integers(1, 4))
    def page(self, tenant: str, after: str | None, limit: int) -> None:
        expected = [key for key in self.living(tenant) if after is None or key > after][:limit]
        assert [each.id for each in self.store.list(tenant, after=after, limit=limit)] == expected

    @invariant()
    def every_living_session_is_listed(self) -> None:
        for tenant in ("ann", "bob"):
            assert [each.id for each in self.store.list(tenant)] == self.living(tenant)

    def living(self, tenant: str) -> list[str]:
        return sorted(key for key in self.made if self.expected_error(tenant, key) is None)

    def expected_error(self, tenant: str, session_id: str) -> type[Exception] | None:
        kept, now = self.made[session_id], self.clock()
        if kept.tenant != tenant:
            return SessionNotFoundError
        ended = self.deleted.get(session_id, kept.expires_at)
        if now < ended or (now == ended and session_id not in self.deleted):
            return None
        return SessionGoneError if now - ended <= WEEK else SessionNotFoundError


@pytest.mark.parametrize("name", sorted(STORES))
def test_any_order_of_calls_agrees_with_a_dictionary(name: str) -> None:
    calls = settings(max_examples=40, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(partial(StoreMachine, name), settings=calls)  # type: ignore[arg-type] # takes any factory
