import json
from datetime import timedelta

import pytest

from service.errors import SessionDamagedError
from service.sessions.records import dump_revision, dump_session, load_revision, load_session
from tests.sessions.stores import revision, session
from tests.tiny import FakeClock


def test_a_record_is_read_as_it_was_written() -> None:
    kept = session(FakeClock(), lives=timedelta(seconds=5))
    assert load_session(dump_session(kept)) == kept
    assert load_revision(dump_revision(kept.revision)) == kept.revision


def test_a_revision_from_before_the_reach_was_measured_has_none() -> None:
    fields = json.loads(dump_revision(revision(FakeClock())))
    assert fields.pop("reach") > 0
    assert load_revision(json.dumps(fields).encode()).reach is None


def test_a_revision_from_before_the_length_of_vectors_was_kept_has_none() -> None:
    fields = json.loads(dump_revision(revision(FakeClock())))
    assert fields.pop("length") == 4
    assert load_revision(json.dumps(fields).encode()).length is None


def test_a_record_that_lacks_what_every_revision_has_is_damaged() -> None:
    fields = json.loads(dump_revision(revision(FakeClock())))
    del fields["labels"]
    with pytest.raises(SessionDamagedError):
        load_revision(json.dumps(fields).encode())
