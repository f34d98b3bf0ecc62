import re
from datetime import UTC, datetime, timedelta

from service.sessions.session import new_session_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_ids_made_at_once_differ_in_more_than_their_time() -> None:
    ids = [new_session_id(NOW) for _ in range(5000)]
    assert len(set(ids)) == 5000
    assert {each[:16] for each in ids} == {ids[0][:16]}
    # 80 random bits: in 5,000 ids every place of the rest takes every hexadecimal digit.
    assert all({each[place] for each in ids} == set("0123456789abcdef") for place in range(16, 36))


def test_ids_sort_by_the_millisecond_they_were_made_in() -> None:
    times = [NOW + timedelta(milliseconds=step) for step in (0, 1, 15, 16, 1000, 10**9, 10**12)]
    ids = [new_session_id(each) for each in times]
    assert ids == sorted(ids)


def test_an_id_fits_into_an_address() -> None:
    assert re.fullmatch(r"ses_[0-9a-f]{32}", new_session_id(NOW))
