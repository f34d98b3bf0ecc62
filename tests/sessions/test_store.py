"""What every session store keeps to; a new store joins by one line in `stores.STORES`."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from service.errors import (
    IdempotencyKeyBusyError,
    IdempotencyKeyReusedError,
    RevisionChangedError,
    RevisionGoneError,
    RevisionNotFoundError,
    SessionGoneError,
    SessionNotFoundError,
)
from service.sessions.session import Session
from service.sessions.store import CLAIMED_FOR, REPLIES_KEPT_FOR, REVISIONS_KEPT, Claim, Contents, Reply, Wanted
from tests.sessions.stores import STORES, Blocking, contents_of, grown, pinned, renamed, revision, session, weights_of
from tests.tiny import FakeClock

WEEK = timedelta(days=7)
SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Blocking]:
    with STORES[request.param](clock) as inner:
        blocking = Blocking(inner)
        yield blocking
        blocking.close()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_session_comes_back_whole(store: Blocking, clock: FakeClock, seed: int) -> None:
    kept = session(clock, seed=seed)
    store.create(kept)
    assert store.get("ann", kept.id) == kept


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
    assert set(store.list("ann")) == {store.get("ann", each.id) for each in made}
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
    assert store.get("ann", hers.id) == hers


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
    assert store.list("ann") == made


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


def test_what_is_kept_comes_back_byte_for_byte(store: Blocking, clock: FakeClock) -> None:
    kept, bare = session(clock), session(clock, seed=1)
    store.create(kept)
    store.create(bare, Contents(b"", None))
    assert store.weights(kept) == contents_of(kept).weights
    assert store.support(kept) == contents_of(kept).support
    assert store.weights(bare) == b""


def test_the_current_state_is_the_newest_and_not_stale(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock)
    store.create(kept)
    assert (store.current("ann", kept.id).session, store.current("ann", kept.id).stale) == (kept, False)
    after = store.append(kept, grown(kept, clock), contents_of(kept))
    assert store.current("ann", kept.id).session == after == store.get("ann", kept.id)
    store.delete("ann", kept.id)
    with pytest.raises(SessionGoneError, match="was deleted"):
        store.current("ann", kept.id)
    with pytest.raises(SessionNotFoundError):
        store.current("bob", kept.id)


def test_an_appended_revision_is_the_newest_and_the_one_before_is_still_there(store: Blocking, clock: FakeClock) -> None:
    first = session(clock)
    store.create(first)
    clock.now += SECOND
    second = store.append(first, grown(first, clock, seed=1), Contents(weights_of(2), b"more"))
    assert second == replace(first, revision=grown(first, clock, seed=1))
    assert store.at("ann", first.id, 1) == first
    assert store.at("ann", first.id, 2) == second
    assert (store.weights(first), store.weights(second)) == (contents_of(first).weights, weights_of(2))
    assert store.support(second) == b"more"


def test_a_revision_without_a_support_set_leaves_the_one_before(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock)
    store.create(kept)
    after = store.append(kept, replace(grown(kept, clock), refitted=True), Contents(weights_of(2), None))
    assert store.support(after) == contents_of(kept).support
    assert store.get("ann", kept.id).revision.refitted


def test_of_two_revisions_after_one_only_the_first_is_kept(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock)
    store.create(kept)
    winner = store.append(kept, grown(kept, clock, seed=1), Contents(weights_of(2, 1), b"winner"))
    with pytest.raises(RevisionChangedError, match="it is 2"):
        store.append(kept, grown(kept, clock, seed=2), Contents(weights_of(2, 2), b"loser"))
    assert store.get("ann", kept.id) == winner
    assert (store.weights(winner), store.support(winner)) == (weights_of(2, 1), b"winner")


def test_only_the_newest_revisions_are_kept(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock)
    store.create(kept)
    for number in range(2, REVISIONS_KEPT + 3):
        kept = store.append(kept, grown(kept, clock), Contents(weights_of(number), None))
    for number in (1, 2):
        with pytest.raises(RevisionGoneError, match=f"revision {number} "):
            store.at("ann", kept.id, number)
    assert store.weights(store.at("ann", kept.id, 3)) == weights_of(3)
    assert store.weights(kept) == weights_of(REVISIONS_KEPT + 2)
    for unknown in (0, -1, REVISIONS_KEPT + 3):
        with pytest.raises(RevisionNotFoundError, match=f"newest is {REVISIONS_KEPT + 2}"):
            store.at("ann", kept.id, unknown)


def test_what_was_read_of_a_session_that_ended_meanwhile_is_gone(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock)
    store.create(kept)
    store.delete("ann", kept.id)
    for call in (lambda: store.weights(kept), lambda: store.support(kept), lambda: store.at("ann", kept.id, 1)):
        with pytest.raises(SessionGoneError):
            call()
    with pytest.raises(SessionGoneError):
        store.append(kept, grown(kept, clock), contents_of(kept))
    with pytest.raises(SessionGoneError):
        store.update("ann", kept.id, renamed("late"))
    assert store.list("ann") == []


def test_a_change_replaces_what_it_changes_and_nothing_else(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock)
    store.create(kept)
    assert store.update("ann", kept.id, renamed("new")) == replace(kept, name="new") == store.get("ann", kept.id)
    assert store.weights(kept) == contents_of(kept).weights
    with pytest.raises(SessionNotFoundError):
        store.update("bob", kept.id, renamed("stolen"))


def test_growing_keeps_a_change_made_meanwhile(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock)
    store.create(kept)
    store.update("ann", kept.id, renamed("meanwhile"))
    assert store.append(kept, grown(kept, clock), contents_of(kept)).name == "meanwhile"
    assert store.get("ann", kept.id).name == "meanwhile"


def test_a_pinned_session_outlives_its_time_until_it_is_unpinned(store: Blocking, clock: FakeClock) -> None:
    kept, short = session(clock), session(clock)
    store.create(kept)
    store.create(short)
    store.update("ann", kept.id, pinned)
    clock.now += timedelta(hours=5)
    assert [each.id for each in store.list("ann")] == [kept.id]
    assert store.get("ann", kept.id).pinned
    store.update("ann", kept.id, lambda each: replace(each, pinned=False, expires_at=clock() + SECOND))
    assert not store.current("ann", kept.id).session.pinned
    clock.now += SECOND
    with pytest.raises(SessionGoneError, match="has expired"):
        store.get("ann", kept.id)


def test_an_extended_session_ends_at_its_new_time(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock, lives=timedelta(hours=1))
    store.create(kept)
    later = clock() + timedelta(hours=3)
    store.update("ann", kept.id, lambda each: replace(each, expires_at=later))
    clock.now = later - SECOND
    assert store.get("ann", kept.id).expires_at == later
    clock.now = later
    with pytest.raises(SessionGoneError, match="has expired"):
        store.get("ann", kept.id)


def filled(store: Blocking, clock: FakeClock) -> dict[str, Session]:
    """Three of ann's sessions, a second apart, of other names and meta-models, and one of bob's."""
    made = {}
    for name, model in (("a", "tiny@1"), ("b", "tiny@2"), ("c", "other@1")):
        made[name] = replace(session(clock), name=name, model=model)
        store.create(made[name])
        clock.now += SECOND
    store.create(replace(session(clock, tenant="bob"), name="a"))
    return made


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), "abc"),
        (Wanted(name="b"), "b"),
        (Wanted(model="tiny"), "ab"),
        (Wanted(model="tiny@2"), "b"),
        (Wanted(model="tin"), ""),
        (Wanted(created_from=FakeClock().now + SECOND), "bc"),
        (Wanted(created_until=FakeClock().now + SECOND), "a"),
        (Wanted(name="c", model="tiny"), ""),
    ],
)
def test_only_the_sessions_meant_are_listed_and_ended(store: Blocking, clock: FakeClock, wanted: Wanted, expected: str) -> None:
    made = filled(store, clock)
    assert [each.name for each in store.list("ann", wanted=wanted)] == list(expected)
    assert [each.name for each in store.list("ann", wanted=wanted, limit=1)] == list(expected)[:1]
    assert store.delete_all("ann", wanted) == len(expected)
    assert [each.name for each in store.list("ann")] == [name for name in made if name not in expected]
    assert len(store.list("bob")) == 1
    for name in expected:
        with pytest.raises(SessionGoneError, match="was deleted"):
            store.get("ann", made[name].id)


CLAIM = Claim("ann", "key", "print")


def test_a_key_answers_again_with_the_reply_that_was_kept_with_its_session(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock)
    assert store.claim(CLAIM) is None
    store.create(kept, reply=Reply(CLAIM, b"answer \x00\xff"))
    assert store.claim(CLAIM) == b"answer \x00\xff"
    assert store.claim(replace(CLAIM, tenant="bob")) is None
    clock.now += REPLIES_KEPT_FOR - SECOND
    assert store.claim(CLAIM) == b"answer \x00\xff"
    clock.now += SECOND
    assert store.claim(CLAIM) is None


def test_a_key_answers_again_with_the_reply_that_was_kept_with_its_revision(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock)
    store.create(kept)
    store.claim(CLAIM)
    store.append(kept, grown(kept, clock), contents_of(kept), reply=Reply(CLAIM, b"grown"))
    assert store.claim(CLAIM) == b"grown"


def test_a_key_is_busy_until_its_request_is_answered_or_fails_or_is_lost(store: Blocking, clock: FakeClock) -> None:
    store.claim(CLAIM)
    with pytest.raises(IdempotencyKeyBusyError, match="'key'"):
        store.claim(CLAIM)
    store.release(CLAIM)
    assert store.claim(CLAIM) is None
    clock.now += CLAIMED_FOR
    assert store.claim(CLAIM) is None


def test_a_key_of_another_request_is_refused(store: Blocking, clock: FakeClock) -> None:
    other = replace(CLAIM, fingerprint="other")
    store.claim(CLAIM)
    with pytest.raises(IdempotencyKeyReusedError, match="'key'"):
        store.claim(other)
    store.create(session(clock), reply=Reply(CLAIM, b"answer"))
    with pytest.raises(IdempotencyKeyReusedError):
        store.claim(other)


def test_giving_up_a_key_leaves_the_reply_it_has(store: Blocking, clock: FakeClock) -> None:
    store.claim(CLAIM)
    store.create(session(clock), reply=Reply(CLAIM, b"answer"))
    store.release(CLAIM)
    store.release(replace(CLAIM, key="unknown"))
    assert store.claim(CLAIM) == b"answer"


def test_a_revision_that_loses_keeps_no_reply(store: Blocking, clock: FakeClock) -> None:
    kept = session(clock)
    store.create(kept)
    store.append(kept, grown(kept, clock), contents_of(kept))
    store.claim(CLAIM)
    with pytest.raises(RevisionChangedError):
        store.append(kept, grown(kept, clock), contents_of(kept), reply=Reply(CLAIM, b"lost"))
    store.release(CLAIM)
    assert store.claim(CLAIM) is None


class StoreMachine(RuleBasedStateMachine):
    """Any order of calls, beside a plain dictionary."""

    ids = Bundle("ids")
    tenants = st.sampled_from(["ann", "bob"])

    def __init__(self, name: str) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.opened = ExitStack()
        self.store = Blocking(self.opened.enter_context(STORES[name](self.clock)))
        self.made: dict[str, Session] = {}
        self.deleted: dict[str, datetime] = {}

    def teardown(self) -> None:
        self.store.close()
        self.opened.close()

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

    @rule()
    def restart(self) -> None:
        self.store.reopen()

    @rule(tenant=tenants, session_id=ids)
    def get(self, tenant: str, session_id: str) -> None:
        error = self.expected_error(tenant, session_id)
        if error is None:
            assert self.store.get(tenant, session_id) == self.made[session_id]
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

    @rule(session_id=ids, seed=st.integers(0, 3), from_newest=st.booleans())
    def grow(self, session_id: str, seed: int, from_newest: bool) -> None:
        kept = self.made[session_id] if from_newest else replace(self.made[session_id], revision=revision(self.clock, number=1))
        contents = Contents(weights_of(kept.revision.number + 1, seed), bytes([seed]))
        error = self.expected_error(kept.tenant, session_id)
        if error is None and kept.revision.number != self.made[session_id].revision.number:
            error = RevisionChangedError
        if error is None:
            self.made[session_id] = self.store.append(kept, grown(kept, self.clock, seed=seed), contents)
            assert self.store.weights(self.made[session_id]) == contents.weights
            assert self.store.support(self.made[session_id]) == contents.support
        else:
            with pytest.raises(error):
                self.store.append(kept, grown(kept, self.clock, seed=seed), contents)

    @rule(session_id=ids, hours=st.integers(1, 400), pin=st.booleans())
    def change(self, session_id: str, hours: int, pin: bool) -> None:
        tenant, expires_at = self.made[session_id].tenant, self.clock() + timedelta(hours=hours)
        error = self.expected_error(tenant, session_id)
        if error is None:
            changed = self.store.update(tenant, session_id, lambda kept: replace(kept, pinned=pin, expires_at=expires_at))
            assert changed == replace(self.made[session_id], pinned=pin, expires_at=expires_at)
            self.made[session_id] = changed
        else:
            with pytest.raises(error):
                self.store.update(tenant, session_id, pinned)

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
        ended = self.deleted.get(session_id, datetime.max.replace(tzinfo=UTC) if kept.pinned else kept.expires_at)
        if now < ended or (now == ended and session_id not in self.deleted):
            return None
        return SessionGoneError if now - ended <= WEEK else SessionNotFoundError


@pytest.mark.parametrize("name", sorted(STORES))
def test_any_order_of_calls_agrees_with_a_dictionary(name: str) -> None:
    calls = settings(max_examples=40, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(partial(StoreMachine, name), settings=calls)  # type: ignore[arg-type] # takes any factory
