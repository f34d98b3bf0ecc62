from innerloop.adapted import Adapted
from innerloop.wire import AdaptedSession
from tests.innerloop.server import SPENT, described


def test_a_session_knows_which_examples_its_call_brought() -> None:
    info = described(session="ses_1", name=None)
    made = Adapted(AdaptedSession(**info.model_dump(), added=(4, 5), milliseconds=SPENT))
    assert (made.id, made.revision, made.added) == ("ses_1", 1, (4, 5))


def test_a_session_that_was_looked_up_brought_none() -> None:
    assert Adapted(described(session="ses_1", name=None)).added == ()
