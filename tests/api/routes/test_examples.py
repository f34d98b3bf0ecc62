from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.forms import ASK, BOTH, FORMS, LEARN, Task, as_json, raw
from tests.tiny import drawing, png

VEE = tuple(("vee", png(drawing("vee", width=2 + n))) for n in range(2))
MORE = Task(VEE)


def adapted(client: TestClient, **options: Any) -> dict[str, Any]:
    return dict(client.post("/v1/sessions", **as_json(LEARN, **options)).json())


def examples_of(client: TestClient, session: str, **params: Any) -> dict[str, Any]:
    return dict(client.get(f"/v1/sessions/{session}/examples", params=params).json())


@pytest.mark.parametrize("form", FORMS)
def test_added_examples_make_the_next_revision_in_every_form(client: TestClient, form: str) -> None:
    session = adapted(client)["session"]
    response = client.post(f"/v1/sessions/{session}/examples", **FORMS[form](MORE))
    made = response.json()
    assert (response.status_code, response.headers["ETag"]) == (200, '"2"')
    assert (made["session"], made["revision"], made["labels"]) == (session, 2, ["bar", "cross", "ring", "vee"])
    assert (made["shots"]["vee"], made["added"], made["refitted"]) == (2, [7, 8], False)
    assert set(made["milliseconds"]) == {"decode", "queue", "compute"}
    assert client.get(f"/v1/sessions/{session}").json()["weights_digest"] == made["weights_digest"]


def test_examples_are_listed_page_by_page(client: TestClient) -> None:
    session = adapted(client)["session"]
    first = examples_of(client, session, limit=4)
    assert (first["session"], first["revision"], first["next"]) == (session, 1, 4)
    assert [(each["id"], each["label"]) for each in first["examples"]] == [(1, "bar"), (2, "bar"), (3, "bar"), (4, "cross")]
    last = examples_of(client, session, limit=4, after=first["next"])
    assert ([each["id"] for each in last["examples"]], last["next"]) == ([5, 6], None)


def test_removed_examples_leave_their_ids_unused(client: TestClient) -> None:
    session = adapted(client)["session"]
    made = client.delete(f"/v1/sessions/{session}/examples", params={"id": [6, 1]}).json()
    assert (made["revision"], made["labels"], made["shots"]) == (2, ["bar", "cross"], {"bar": 2, "cross": 2})
    assert client.post(f"/v1/sessions/{session}/examples", **as_json(MORE)).json()["added"] == [7, 8]
    assert [each["id"] for each in examples_of(client, session)["examples"]] == [2, 3, 4, 5, 7, 8]


def test_removing_needs_ids_that_are_there(client: TestClient) -> None:
    session = adapted(client)["session"]
    assert client.delete(f"/v1/sessions/{session}/examples").json()["field"] == "id"
    unknown = client.delete(f"/v1/sessions/{session}/examples", params={"id": 99})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "example_not_found")


def test_a_change_holds_only_for_the_revision_it_expects(client: TestClient) -> None:
    path = f"/v1/sessions/{adapted(client)['session']}/examples"
    etag = client.get(path.removesuffix("/examples")).headers["ETag"]
    assert client.post(path, **as_json(MORE), headers={"If-Match": etag}).status_code == 200
    late = client.delete(path, params={"id": 1}, headers={"If-Match": etag})
    assert (late.status_code, late.json()["code"]) == (412, "revision_changed")
    assert client.delete(path, params={"id": 1}, headers={"If-Match": "*"}).json()["revision"] == 3
    for odd in ('"new"', "9" * 5000, "-1", '"١"'):
        response = client.delete(path, params={"id": 1}, headers={b"If-Match": odd.encode()})
        assert (response.status_code, response.json()["field"]) == (422, "If-Match")


def test_queries_and_options_do_not_belong_to_added_examples(client: TestClient) -> None:
    path = f"/v1/sessions/{adapted(client)['session']}/examples"
    assert "examples only" in client.post(path, **as_json(BOTH)).json()["detail"]
    assert client.post(path, **as_json(MORE, steps=3)).json()["field"] == "steps"
    assert client.post(path, **raw(b"{}")).json()["code"] == "invalid_request"


def test_without_a_kept_support_set_there_are_no_examples(client: TestClient) -> None:
    made = adapted(client, keep_support=False)
    assert made["keeps_support"] is False
    for response in (
        client.get(f"/v1/sessions/{made['session']}/examples"),
        client.post(f"/v1/sessions/{made['session']}/examples", **as_json(MORE)),
        client.post("/v1/sessions", json={"from_session": made["session"]}),
    ):
        assert (response.status_code, response.json()["code"]) == (409, "support_not_kept")


def test_a_fork_may_add_and_needs_no_body_of_its_own(client: TestClient) -> None:
    source = adapted(client)
    same = client.post("/v1/sessions", json={"from_session": source["session"], "name": "fork"}).json()
    assert same["session"] != source["session"]
    assert (same["weights_digest"], same["name"]) == (source["weights_digest"], "fork")
    bare = client.post("/v1/sessions", params={"from_session": source["session"]})
    assert (bare.status_code, bare.json()["weights_digest"]) == (201, source["weights_digest"])
    grown = client.post("/v1/sessions", **as_json(MORE, from_session=source["session"])).json()
    assert (grown["revision"], grown["labels"], grown["added"]) == (1, ["bar", "cross", "ring", "vee"], [7, 8])


def test_predictions_name_the_revision_that_was_asked_for(client: TestClient) -> None:
    made = adapted(client)
    client.post(f"/v1/sessions/{made['session']}/examples", **as_json(MORE))
    path = f"/v1/sessions/{made['session']}/predict"
    newest, first = client.post(path, **as_json(ASK)).json(), client.post(path, **as_json(ASK, revision=1)).json()
    assert (newest["revision"], first["revision"]) == (2, 1)
    assert first["weights_digest"] == made["weights_digest"] != newest["weights_digest"]
    assert client.post(path, **as_json(ASK), params={"revision": 1}).json()["revision"] == 1
    unknown = client.post(path, **as_json(ASK, revision=3))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "revision_not_found")


def test_a_request_sent_twice_with_its_key_is_done_once(client: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first, second = (client.post("/v1/sessions", **FORMS[form](LEARN), headers=headers) for form in ("multipart", "multipart"))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.headers["Location"] == first.headers["Location"]
    other = client.post("/v1/sessions", **as_json(LEARN, name="other"), headers=headers)
    assert (other.status_code, other.json()["code"], other.json()["field"]) == (422, "idempotency_key_reused", "Idempotency-Key")
    path = f"/v1/sessions/{first.json()['session']}/examples"
    grown = [client.post(path, **as_json(MORE), headers={"Idempotency-Key": "grow"}) for _ in range(2)]
    assert grown[0].json() == grown[1].json()
    assert len(client.get("/v1/sessions").json()["sessions"]) == 1


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_none_is_refused(client: TestClient, key: str) -> None:
    assert client.post("/v1/sessions", **as_json(LEARN), headers={"Idempotency-Key": key}).status_code == 422
