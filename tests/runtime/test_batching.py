from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from service.runtime.batching import next_batch


@dataclass(frozen=True, slots=True)
class Job:
    kind: str
    items: int


QUEUES = st.lists(st.builds(Job, st.sampled_from("abc"), st.integers(0, 12)), max_size=12)


def queue(*jobs: tuple[str, int]) -> list[Job]:
    return [Job(kind, items) for kind, items in jobs]


def test_an_empty_queue_gives_an_empty_batch() -> None:
    assert next_batch([], max_items=10) == []


def test_the_oldest_decides_the_kind() -> None:
    assert next_batch(queue(("b", 1), ("a", 1), ("b", 1), ("a", 1)), max_items=10) == [0, 2]


def test_a_batch_is_filled_up_to_its_limit() -> None:
    assert next_batch(queue(("a", 4), ("a", 4), ("a", 4), ("a", 2)), max_items=10) == [0, 1, 3]


def test_a_batch_may_be_exactly_full() -> None:
    assert next_batch(queue(("a", 6), ("a", 4)), max_items=10) == [0, 1]


def test_work_larger_than_a_batch_goes_alone() -> None:
    assert next_batch(queue(("a", 11), ("a", 1)), max_items=10) == [0]
    assert next_batch(queue(("a", 1), ("a", 11), ("a", 1)), max_items=10) == [0, 2]


@given(QUEUES, st.integers(1, 12))
def test_a_batch_is_the_oldest_with_all_of_its_kind_that_fits(jobs: list[Job], limit: int) -> None:
    places = next_batch(jobs, max_items=limit)
    assert places == sorted(set(places))
    if not jobs:
        return
    assert places[0] == 0
    assert {jobs[place].kind for place in places} == {jobs[0].kind}
    items = sum(jobs[place].items for place in places)
    assert items <= limit or places == [0]
    room = limit - items
    assert all(job.items > room for place, job in enumerate(jobs) if place not in places and job.kind == jobs[0].kind)


@given(QUEUES, st.integers(1, 12))
def test_taking_batches_serves_all_work_once(jobs: list[Job], limit: int) -> None:
    waiting, served = list(enumerate(jobs)), []
    while places := next_batch([job for _, job in waiting], max_items=limit):
        served += [waiting[place][0] for place in places]
        waiting = [each for place, each in enumerate(waiting) if place not in places]
    assert sorted(served) == list(range(len(jobs)))
