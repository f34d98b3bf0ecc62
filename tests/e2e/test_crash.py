from pathlib import Path

import pytest

from tests.e2e.crash import crash


@pytest.mark.slow
def test_every_session_acknowledged_before_a_kill_answers_after_it_as_before(tmp_path: Path) -> None:
    """The short form of `make crash`."""
    book = crash(tmp_path, rounds=2, seed=1)
    assert book.wrong == []
    assert len(book.sessions) > 5
    assert book.checked > len(book.sessions)
