from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.forms import ASK, LEARN, SUPPORT, Task, as_json
from tests.tiny import FakeClock


def adapted(client: TestClient, **options: Any) -> dict[str, Any]:
    response = client.post("/v1/sessions", **as_json(LEARN, **options))
    assert response.status_code == 201, response.text
    return dict(response.json())


def ended(client: TestClient, session: str) -> tuple[int, str]:
    """Status and detail of a session that is no more, the same from every call."""
    responses = [
        client.get(f"/v1/sessions/{session}"),
        client.delete(f"/v1/sessions/{session}"),
        client.post(f"/v1/sessions/{session}/predict", **as_json(ASK)),
    ]
    answers = {(response.status_code, response.json()["code"], response.json()["detail"]) for response in responses}
    assert len(answers) == 1, answers
    [(status, _, detail)] = answers
    return status, detail


def test_a_new_session_is_created_where_its_location_says(client: TestClient) -> None:
    response = client.post("/v1/sessions", **as_json(LEARN, name="mine"))
    made = response.json()
    assert (response.status_code, response.headers["Location"]) == (201, f"/v1/sessions/{made['session']}")
    milliseconds, added = made.pop("milliseconds"), made.pop("added")
    assert added == [1, 2, 3, 4, 5, 6]
    assert client.get(response.headers["Location"]).json() == made
    assert set(milliseconds) == {"decode", "queue", "compute"}
    assert all(spent > 0 for spent in milliseconds.values())


def test_a_session_describes_what_it_was_adapted_to(client: TestClient, clock: FakeClock) -> None:
    made = adapted(client, ttl_seconds=90)
    assert made["session"].startswith("ses_")
    assert (made["model"], made["revision"], made["name"], made["scope"], made["steps"]) == ("tiny@1", 1, None, "head", 3)
    assert (made["labels"], made["shots"]) == (["bar", "cross", "ring"], {"bar": 3, "cross": 2, "ring": 1})
    assert len(made["weights_digest"]) == 64
    assert len(made["losses"]) == 4
    assert 0 <= made["leave_one_out_accuracy"] <= 1
    assert datetime.fromisoformat(made["created_at"]) == clock.now
    assert datetime.fromisoformat(made["expires_at"]) == clock.now + timedelta(seconds=90)


def test_leave_one_out_is_not_known_without_a_second_example(client: TestClient) -> None:
    response = client.post("/v1/sessions", **as_json(Task([SUPPORT[0], SUPPORT[-1]])))
    assert response.json()["leave_one_out_accuracy"] is None


def test_a_session_that_names_no_lifetime_gets_the_servers(client: TestClient, clock: FakeClock) -> None:
    assert datetime.fromisoformat(adapted(client)["expires_at"]) == clock.now + timedelta(hours=1)


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_every_number_of_steps_up_to_the_largest_is_taken(client: TestClient, steps: int) -> None:
    made = adapted(client, steps=steps)
    assert (made["steps"], len(made["losses"])) == (steps, steps + 1)


def test_the_longest_lifetime_is_taken(client: TestClient) -> None:
    assert adapted(client, ttl_seconds=604800)["session"]


def test_options_that_are_null_are_as_if_absent(client: TestClient) -> None:
    options = {"model": None, "steps": None, "scope": None, "name": None, "ttl_seconds": None}
    assert adapted(client, **options)["weights_digest"] == adapted(client)["weights_digest"]


def test_a_deleted_session_is_gone_and_others_are_not(client: TestClient) -> None:
    first, second = adapted(client)["session"], adapted(client)["session"]
    response = client.delete(f"/v1/sessions/{first}")
    assert (response.status_code, response.content) == (204, b"")
    status, detail = ended(client, first)
    assert status == 410
    assert "was deleted" in detail
    assert client.get(f"/v1/sessions/{second}").status_code == 200


def test_an_expired_session_is_gone(client: TestClient, clock: FakeClock) -> None:
    session = adapted(client, ttl_seconds=60)["session"]
    clock.now += timedelta(seconds=59)
    assert client.get(f"/v1/sessions/{session}").status_code == 200
    clock.now += timedelta(seconds=1)
    status, detail = ended(client, session)
    assert status == 410
    assert "has expired" in detail
    assert client.get("/v1/sessions").json()["sessions"] == []


def test_what_is_gone_is_forgotten_after_a_week(client: TestClient, clock: FakeClock) -> None:
    session = adapted(client)["session"]
    client.delete(f"/v1/sessions/{session}")
    clock.now += timedelta(days=7, seconds=1)
    assert ended(client, session)[0] == 404


def test_a_session_that_never_was_is_not_found(client: TestClient) -> None:
    status, detail = ended(client, "ses_000")
    assert status == 404
    assert "ses_000" in detail


def test_sessions_are_listed_oldest_first_page_by_page(client: TestClient, clock: FakeClock) -> None:
    made = []
    for n in range(5):
        clock.now += timedelta(seconds=1)
        made.append(adapted(client, name=str(n))["session"])
    pages: list[list[str]] = []
    after: dict[str, str] = {}
    while True:
        page = client.get("/v1/sessions", params={"limit": 2, **after}).json()
        pages.append([one["session"] for one in page["sessions"]])
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert pages == [made[:2], made[2:4], made[4:]]
    assert [one["name"] for one in client.get("/v1/sessions").json()["sessions"]] == list("01234")


def test_a_page_that_just_holds_the_rest_is_the_last(client: TestClient) -> None:
    for _ in range(2):
        adapted(client)
    assert client.get("/v1/sessions", params={"limit": 2}).json()["next"] is None


def test_a_session_that_ends_between_two_pages_is_not_in_the_way(client: TestClient, clock: FakeClock) -> None:
    made = []
    for _ in range(3):
        clock.now += timedelta(seconds=1)
        made.append(adapted(client)["session"])
    cursor = client.get("/v1/sessions", params={"limit": 1}).json()["next"]
    client.delete(f"/v1/sessions/{cursor}")
    rest = client.get("/v1/sessions", params={"after": cursor}).json()
    assert [one["session"] for one in rest["sessions"]] == made[1:]


def change(client: TestClient, session: str, **fields: Any) -> dict[str, Any]:
    response = client.patch(f"/v1/sessions/{session}", json=fields)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_a_session_is_renamed_pinned_and_extended(client: TestClient, clock: FakeClock) -> None:
    session = adapted(client)["session"]
    assert change(client, session, name="new")["name"] == "new"
    clock.now += timedelta(minutes=30)
    assert datetime.fromisoformat(change(client, session, ttl_seconds=60)["expires_at"]) == clock.now + timedelta(seconds=60)
    kept = change(client, session, pinned=True)
    assert (kept["pinned"], kept["expires_at"], kept["name"]) == (True, None, "new")
    clock.now += timedelta(days=30)
    assert client.post(f"/v1/sessions/{session}/predict", **as_json(ASK)).status_code == 200
    change(client, session, pinned=False)
    clock.now += timedelta(hours=1)
    assert client.get(f"/v1/sessions/{session}").json()["code"] == "session_gone"


@pytest.mark.parametrize("fields", [{"ttl_seconds": 0}, {"ttl_seconds": 10**9}, {"pinned": "maybe"}, {"steps": 3}, {"name": "n" * 201}])
def test_a_change_that_cannot_be_made_is_refused_by_name(client: TestClient, fields: dict[str, Any]) -> None:
    response = client.patch(f"/v1/sessions/{adapted(client)['session']}", json=fields)
    assert (response.status_code, response.json()["field"]) == (422, next(iter(fields)))


def test_sessions_are_listed_and_ended_by_filter(client: TestClient, clock: FakeClock) -> None:
    moments = []
    for name in ("a", "b", "c"):
        moments.append(clock.now.isoformat())
        adapted(client, name=name)
        clock.now += timedelta(seconds=1)

    def names(**params: Any) -> list[str]:
        return [each["name"] for each in client.get("/v1/sessions", params=params).json()["sessions"]]

    assert names(name="b") == ["b"]
    assert names(model="tiny") == names(model="tiny@1") == ["a", "b", "c"]
    assert names(created_from=moments[1]) == ["b", "c"]
    assert names(created_until=moments[1]) == ["a"]
    unsure = client.delete("/v1/sessions", params={"name": "b"})
    assert (unsure.status_code, unsure.json()["field"]) == (422, "confirm")
    assert client.delete("/v1/sessions", params={"name": "b", "confirm": True}).json() == {"deleted": 1}
    assert names() == ["a", "c"]
    assert client.delete("/v1/sessions", params={"confirm": True}).json() == {"deleted": 2}
    assert names() == []


def test_a_time_without_its_zone_is_refused(client: TestClient) -> None:
    response = client.get("/v1/sessions", params={"created_from": "2026-01-01T00:00:00"})
    assert (response.status_code, response.json()["field"]) == (422, "created_from")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_filter_that_does_not_exist_is_refused_and_ends_nothing(client: TestClient, method: str) -> None:
    session = adapted(client)["session"]
    response = client.request(method, "/v1/sessions", params={"nmae": "x", **({"confirm": True} if method == "DELETE" else {})})
    assert (response.status_code, response.json()["field"]) == (422, "nmae")
    assert client.get(f"/v1/sessions/{session}").status_code == 200


def test_a_change_names_the_revision_it_leaves(client: TestClient) -> None:
    assert client.patch(f"/v1/sessions/{adapted(client)['session']}", json={"name": "n"}).headers["ETag"] == '"1"'


def test_a_change_or_an_end_holds_only_for_the_revision_it_expects(client: TestClient) -> None:
    path = f"/v1/sessions/{adapted(client)['session']}"
    for method in ("PATCH", "DELETE"):
        late = client.request(method, path, headers={"If-Match": '"77"'}, json={"name": "n"})
        assert (late.status_code, late.json()["code"]) == (412, "revision_changed")
    assert client.get(path).json()["name"] is None
    assert client.patch(path, json={"name": "n"}, headers={"If-Match": '"1"'}).json()["name"] == "n"
    assert client.delete(path, headers={"If-Match": '"1"'}).status_code == 204


@pytest.mark.parametrize("fields", [{"ttl_seconds": True}, {"ttl_seconds": "100"}, {"pinned": 1}, {"pinned": "yes"}])
def test_a_change_is_not_guessed_from_another_type(client: TestClient, fields: dict[str, Any]) -> None:
    assert client.patch(f"/v1/sessions/{adapted(client)['session']}", json=fields).status_code == 422


@pytest.mark.parametrize("cursor", ["x", "\0", "9" * 30])
def test_what_is_no_cursor_is_refused(client: TestClient, cursor: str) -> None:
    response = client.get("/v1/sessions", params={"after": cursor})
    assert (response.status_code, response.json()["field"]) == (422, "after")
