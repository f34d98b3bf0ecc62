from dataclasses import replace

from service.sessions.redis.last_seen import LastSeen
from tests.sessions.stores import grown, renamed, session
from tests.tiny import FakeClock

CLOCK = FakeClock()


def test_the_newest_state_is_given_whatever_order_the_answers_came_in() -> None:
    seen, first = LastSeen(10), session(CLOCK)
    second = replace(first, revision=grown(first, CLOCK))
    for each in (first, second, first):
        seen.saw(each)
    assert seen.get(first.id) == second
    seen.saw(renamed("hers")(second))
    assert seen.get(first.id) == renamed("hers")(second)


def test_what_ended_is_not_brought_back_by_an_answer_that_was_on_its_way() -> None:
    seen, one = LastSeen(10), session(CLOCK)
    seen.ended(one.id)
    seen.saw(one)
    assert seen.get(one.id) is None


def test_those_seen_longest_ago_leave_first() -> None:
    seen, (first, second, third, fourth) = LastSeen(3), [session(CLOCK) for _ in range(4)]
    for each in (first, second, third, first, fourth):
        seen.saw(each)
    assert [seen.get(each.id) for each in (first, second, third, fourth)] == [first, None, third, fourth]
    for _ in range(5):
        seen.ended(session(CLOCK).id)
    assert seen.get(fourth.id) is None
