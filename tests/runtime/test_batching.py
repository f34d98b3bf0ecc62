from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.runtime.batching import Batch, Policy, is_late, next_batch, patience

POLICY = Policy(max_items=10, wait_seconds=0.5, quantum=4)


@dataclass(frozen=True, slots=True)
class Job:
    kind: str = "a"
    items: int = 1
    tenant: str = "ann"
    submitted: float = 0.0
    deadline: float | None = None


QUEUES = st.lists(st.builds(Job, st.sampled_from("abc"), st.integers(0, 12), st.sampled_from(["ann", "bob", "cy"])), max_size=14)
POLICIES = st.builds(Policy, st.integers(1, 12), st.just(0.0), st.integers(1, 6))


def of_ann(*jobs: tuple[str, int]) -> list[Job]:
    return [Job(kind, items) for kind, items in jobs]


def places(queue: Sequence[Job], policy: Policy = POLICY, credit: Mapping[str, int] | None = None) -> list[int]:
    return list(next_batch(queue, credit or {}, policy).places)


def drained(queue: Sequence[Job], policy: Policy) -> list[list[Job]]:
    """Take batches until nothing waits."""
    batches, credit, waiting = [], dict[str, int](), list(queue)
    while waiting:
        batch = next_batch(waiting, credit, policy)
        batches.append([waiting[place] for place in batch.places])
        waiting, credit = [each for place, each in enumerate(waiting) if place not in batch.places], dict(batch.credit)
    return batches


def test_an_empty_queue_gives_an_empty_batch() -> None:
    assert next_batch([], {"ann": 3}, POLICY) == Batch()


def test_the_oldest_decides_the_kind() -> None:
    assert places(of_ann(("b", 1), ("a", 1), ("b", 1), ("a", 1))) == [0, 2]


def test_a_batch_may_be_exactly_full_and_no_fuller() -> None:
    assert places(of_ann(("a", 6), ("a", 4), ("a", 1))) == [0, 1]
    assert places(of_ann(("a", 6), ("a", 5))) == [0]


def test_the_order_of_a_tenants_own_work_is_kept_even_where_later_work_would_fit() -> None:
    assert places(of_ann(("a", 4), ("a", 4), ("a", 4), ("a", 2))) == [0, 1]


def test_work_larger_than_a_batch_goes_alone() -> None:
    assert places(of_ann(("a", 11), ("a", 1))) == [0]
    assert places(of_ann(("a", 1), ("a", 11), ("a", 1))) == [0]


def test_tenants_take_turns_of_a_quantum() -> None:
    """Ann's fifty were there first; Bob's three need not wait for them."""
    queue = [*(Job(tenant="ann") for _ in range(50)), *(Job(tenant="bob") for _ in range(3))]
    chosen = Counter(queue[place].tenant for place in places(queue))
    assert chosen == {"ann": 7, "bob": 3}


def test_a_tenant_with_many_small_requests_gets_no_more_than_one_with_few_large_ones() -> None:
    policy = Policy(max_items=12, quantum=4)
    queue = [*(Job(items=1, tenant="many") for _ in range(200)), *(Job(items=6, tenant="large") for _ in range(30))]
    served = Counter[str]()
    for batch in drained(queue, policy)[:20]:
        served.update({name: sum(job.items for job in batch if job.tenant == name) for name in ("many", "large")})
    assert served["large"] == pytest.approx(served["many"], rel=0.2)


def test_credit_is_kept_while_a_tenant_waits_and_lost_when_it_does_not() -> None:
    queue = [Job(items=9, tenant="ann"), Job(items=9, tenant="bob")]
    first = next_batch(queue, {}, POLICY)
    assert (first.places, set(first.credit)) == ([0], {"bob"})
    assert next_batch(queue[1:], first.credit, POLICY) == Batch([0], {})


def test_the_tenant_after_the_last_one_served_is_next() -> None:
    policy = replace(POLICY, max_items=4)
    queue = [Job(tenant=name, items=4) for name in ("ann", "bob", "cy", "ann", "bob", "cy")]
    assert [batch[0].tenant for batch in drained(queue, policy)] == ["ann", "bob", "cy", "ann", "bob", "cy"]


@given(QUEUES, POLICIES)
def test_a_batch_is_of_one_kind_within_its_limit_and_keeps_every_tenants_order(jobs: list[Job], policy: Policy) -> None:
    chosen = places(jobs, policy)
    assert chosen == sorted(set(chosen))
    assert bool(chosen) == bool(jobs)
    assert len({jobs[place].kind for place in chosen}) <= 1
    assert sum(jobs[place].items for place in chosen) <= policy.max_items or len([p for p in chosen if jobs[p].items]) == 1
    for name in {job.tenant for job in jobs}:
        own = [place for place, job in enumerate(jobs) if job.tenant == name and chosen and job.kind == jobs[chosen[0]].kind]
        taken = [place for place in chosen if jobs[place].tenant == name]
        assert taken == own[: len(taken)]


@given(QUEUES, POLICIES)
def test_all_work_is_served_once(jobs: list[Job], policy: Policy) -> None:
    served = [job for batch in drained(jobs, policy) for job in batch]
    assert Counter(served) == Counter(jobs)


@given(QUEUES, POLICIES)
def test_alone_a_tenant_fills_batches_as_far_as_they_go(jobs: list[Job], policy: Policy) -> None:
    own = [replace(job, tenant="ann", kind="a") for job in jobs]
    chosen = places(own, policy)
    assert chosen == list(range(len(chosen)))
    rest = own[len(chosen) :]
    assert not rest or sum(own[place].items for place in chosen) + rest[0].items > policy.max_items


def test_the_device_waits_for_company_only_while_some_is_coming_and_the_batch_is_not_full() -> None:
    queue = [Job(submitted=10.0, items=2), Job(submitted=10.2, items=2)]
    assert patience(queue, coming=True, now=10.3, policy=POLICY) == pytest.approx(0.2)
    assert patience(queue, coming=False, now=10.3, policy=POLICY) == 0
    assert patience([*queue, Job(submitted=10.2, deadline=10.4)], coming=True, now=10.3, policy=POLICY) == 0
    assert patience([*queue, Job(submitted=10.2, deadline=20.0)], coming=True, now=10.3, policy=POLICY) == pytest.approx(0.2)
    assert patience(queue, coming=True, now=10.6, policy=POLICY) == 0
    assert patience([*queue, Job(items=6, submitted=10.2)], coming=True, now=10.3, policy=POLICY) == 0


def test_work_is_late_from_its_deadline_on() -> None:
    assert not is_late(Job(), 1e9)
    assert [is_late(Job(deadline=5.0), now) for now in (4.9, 5.0, 5.1)] == [False, True, True]
