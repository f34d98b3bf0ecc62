from innerloop.errors import ApiError
from innerloop.wire import Problem

PROBLEM = Problem(type="urn:x", title="X", status=429, detail="too many images wait", code="queue_full", trace_id="t1")


def test_every_code_has_one_class() -> None:
    codes = [error.code for error in ApiError.__subclasses__()]
    assert len(codes) == len(set(codes))


def test_no_refusal_hides_below_another() -> None:
    assert not [error for direct in ApiError.__subclasses__() for error in direct.__subclasses__()]


def test_a_refusal_reads_as_the_detail_of_its_problem() -> None:
    error = ApiError(PROBLEM, retry_after_seconds=2.5)
    assert str(error) == "too many images wait"
    assert (error.problem, error.retry_after_seconds) == (PROBLEM, 2.5)
