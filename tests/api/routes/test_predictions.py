from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.forms import ANSWERS, ASK, BOTH, FORMS, LEARN, QUERIES, SUPPORT, Task, as_json, as_multipart, as_zip, zip_body, zipped


@pytest.fixture
def session(client: TestClient) -> dict[str, Any]:
    return dict(client.post("/v1/sessions", **as_json(LEARN)).json())


def predicted(client: TestClient, path: str, request: dict[str, Any]) -> dict[str, Any]:
    response = client.post(path, **request)
    assert response.status_code == 200, response.text
    return dict(response.json())


def scores(answer: dict[str, Any]) -> list[dict[str, float]]:
    """The score of every label, for every query."""
    return [{one["label"]: one["score"] for one in prediction["top"]} for prediction in answer["predictions"]]


def test_queries_are_classified_in_the_order_they_were_sent(client: TestClient, session: dict[str, Any]) -> None:
    path = f"/v1/sessions/{session['session']}/predict"
    assert [one["label"] for one in predicted(client, path, as_json(ASK))["predictions"]] == ANSWERS
    backwards = predicted(client, path, as_json(Task(queries=QUERIES[::-1])))
    assert [one["label"] for one in backwards["predictions"]] == ANSWERS[::-1]


def test_an_answer_names_session_revision_model_and_weights(client: TestClient, session: dict[str, Any]) -> None:
    answer = predicted(client, f"/v1/sessions/{session['session']}/predict", as_json(ASK))
    same = ("session", "revision", "model", "weights_digest")
    assert {name: answer[name] for name in same} == {name: session[name] for name in same}
    assert set(answer["milliseconds"]) == {"decode", "queue", "compute"}


def test_the_best_label_comes_first_and_probabilities_add_up(client: TestClient, session: dict[str, Any]) -> None:
    answer = predicted(client, f"/v1/sessions/{session['session']}/predict", as_json(ASK, top_k=3))
    for prediction in answer["predictions"]:
        ranked = [one["score"] for one in prediction["top"]]
        assert ranked == sorted(ranked, reverse=True)
        assert sum(ranked) == pytest.approx(1, abs=1e-5)
        assert {"label": prediction["label"], "score": prediction["score"]} == prediction["top"][0]


@pytest.mark.parametrize(("wanted", "got"), [({"top_k": 1}, 1), ({"top_k": 2}, 2), ({}, 3), ({"top_k": 1000}, 3)])
def test_as_many_labels_are_listed_as_asked_for_and_there_are(
    client: TestClient, session: dict[str, Any], wanted: dict[str, int], got: int
) -> None:
    answer = predicted(client, f"/v1/sessions/{session['session']}/predict", as_json(ASK, **wanted))
    assert [len(one["top"]) for one in answer["predictions"]] == [got] * 3


def test_the_margin_is_there_however_few_labels_are_listed(client: TestClient, session: dict[str, Any]) -> None:
    path = f"/v1/sessions/{session['session']}/predict"
    full, one = (predicted(client, path, as_json(ASK, top_k=top_k))["predictions"] for top_k in (3, 1))
    assert [each["margin"] for each in one] == [each["margin"] for each in full]
    for each in full:
        assert each["margin"] == pytest.approx(each["top"][0]["score"] - each["top"][1]["score"])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_the_nearest_examples_are_listed_in_every_form(client: TestClient, session: dict[str, Any], form: Callable[..., Any]) -> None:
    """An example asked about is nearest to itself; ids count the examples in the order they were sent."""
    images = [image for _, image in SUPPORT]
    answer = predicted(client, f"/v1/sessions/{session['session']}/predict", form(Task(queries=images), nearest=2))
    for place, prediction in enumerate(answer["predictions"]):
        first, second = prediction["nearest"]
        assert first == {"id": place + 1, "label": SUPPORT[place][0], "distance": pytest.approx(0, abs=1e-5)}
        assert second["distance"] > first["distance"]


def test_nothing_is_said_of_nearest_examples_unless_they_are_asked_for(client: TestClient, session: dict[str, Any]) -> None:
    path = f"/v1/sessions/{session['session']}/predict"
    for request in (as_json(ASK), as_json(ASK, nearest=0)):
        for prediction in predicted(client, path, request)["predictions"]:
            assert set(prediction) == {"label", "score", "margin", "unfamiliar", "top"}


def test_all_examples_are_listed_where_there_are_fewer_than_asked_for(client: TestClient, session: dict[str, Any]) -> None:
    answer = predicted(client, f"/v1/sessions/{session['session']}/predict", as_json(ASK, nearest=10))
    assert [sorted(one["id"] for one in each["nearest"]) for each in answer["predictions"]] == [[1, 2, 3, 4, 5, 6]] * 3


@pytest.mark.parametrize("nearest", [-1, 11, "many"])
def test_more_nearest_examples_than_ten_are_refused(client: TestClient, session: dict[str, Any], nearest: object) -> None:
    response = client.post(f"/v1/sessions/{session['session']}/predict", **as_json(ASK, nearest=nearest))
    assert (response.status_code, response.json()["field"]) == (422, "nearest")


def test_nearest_examples_that_were_not_kept_are_a_conflict(client: TestClient) -> None:
    session = client.post("/v1/sessions", **as_json(LEARN, keep_support=False)).json()["session"]
    response = client.post(f"/v1/sessions/{session}/predict", **as_json(ASK, nearest=1))
    assert (response.status_code, response.json()["code"]) == (409, "support_not_kept")


def test_one_call_has_no_nearest_examples(client: TestClient) -> None:
    response = client.post("/v1/predict", **as_json(BOTH, nearest=1))
    assert (response.status_code, response.json()["field"]) == (422, "nearest")


def vector_session(client: TestClient, *support: tuple[str, Sequence[float]]) -> str:
    body = {"model": "vectors", "support": [{"label": label, "vector": vector} for label, vector in support]}
    return f"/v1/sessions/{client.post('/v1/sessions', json=body).json()['session']}/predict"


def test_a_query_unlike_every_class_is_marked(client: TestClient) -> None:
    pairs: list[tuple[str, Sequence[float]]] = [("a", [1, 0, 0]), ("a", [1.2, 0, 0]), ("b", [0, 1, 0]), ("b", [0, 1.2, 0])]
    path = vector_session(client, *pairs)
    answer = predicted(client, path, {"json": {"queries": [{"vector": [1.1, 0, 0]}, {"vector": [0, 0, -5]}]}})
    assert [one["unfamiliar"] for one in answer["predictions"]] == [False, True]


def test_no_mark_is_guessed_where_no_spread_is_known(client: TestClient) -> None:
    """Single examples show none, and this meta-model's manifest states none."""
    path = vector_session(client, ("a", [1, 0, 0]), ("b", [0, 1, 0]))
    answer = predicted(client, path, {"json": {"queries": [{"vector": [0, 0, -5]}]}})
    assert answer["predictions"][0]["unfamiliar"] is None


@pytest.mark.parametrize("top_k", [0, -1, 1001, "all"])
def test_a_number_of_labels_that_cannot_be_is_refused(client: TestClient, session: dict[str, Any], top_k: object) -> None:
    for form in (as_json, as_multipart, as_zip):
        response = client.post(f"/v1/sessions/{session['session']}/predict", **form(ASK, top_k=top_k))
        assert (response.status_code, response.json()["field"]) == (422, "top_k")


def test_a_query_alone_is_answered_as_among_others(client: TestClient, session: dict[str, Any]) -> None:
    path = f"/v1/sessions/{session['session']}/predict"
    together = scores(predicted(client, path, as_json(ASK)))
    alone = [scores(predicted(client, path, as_json(Task(queries=[query]))))[0] for query in QUERIES]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_one_call_is_adapting_and_predicting_with_nothing_kept(client: TestClient, session: dict[str, Any]) -> None:
    once = predicted(client, "/v1/predict", as_json(BOTH))
    kept = predicted(client, f"/v1/sessions/{session['session']}/predict", as_json(ASK))
    assert (once["session"], once["weights_digest"]) == (None, session["weights_digest"])
    assert once["predictions"] == kept["predictions"]
    assert [one["session"] for one in client.get("/v1/sessions").json()["sessions"]] == [session["session"]]


def test_the_order_of_classes_changes_no_prediction(client: TestClient) -> None:
    forwards = scores(predicted(client, "/v1/predict", as_json(BOTH)))
    backwards = scores(predicted(client, "/v1/predict", as_json(Task(SUPPORT[::-1], QUERIES))))
    for one, other in zip(forwards, backwards, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (as_json(BOTH), "support[0]"),
        (as_multipart(BOTH), "images[0] (image.png)"),
        (as_zip(BOTH), "support/bar/000.png"),
        (zip_body(zipped({"folder/1.png": QUERIES[0]})), "folder/1.png"),
    ],
    ids=["json", "multipart", "zip", "zip with a folder"],
)
def test_examples_beside_the_queries_of_a_session_are_refused(
    client: TestClient, session: dict[str, Any], request_: dict[str, Any], field: str
) -> None:
    response = client.post(f"/v1/sessions/{session['session']}/predict", **request_)
    assert (response.status_code, response.json()["code"], response.json()["field"]) == (422, "invalid_request", field)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"vector": [1, 2, 3]}, 422, "wrong_input_kind"),
        ({"image": ""}, 422, "broken_image"),
        ({"image": "bm90IGFuIGltYWdl"}, 415, "not_an_image"),
    ],
)
def test_a_bad_query_is_named_and_the_session_still_answers(
    client: TestClient, session: dict[str, Any], query: dict[str, Any], status: int, code: str
) -> None:
    path = f"/v1/sessions/{session['session']}/predict"
    queries = [*as_json(ASK)["json"]["queries"], query]
    response = client.post(path, json={"queries": queries})
    assert (response.status_code, response.json()["code"], response.json()["field"]) == (status, code, "queries[3]")
    assert predicted(client, path, as_json(ASK))["predictions"]


@pytest.mark.parametrize("body", [b"{}", b'{"queries": []}'])
def test_no_queries_are_refused(client: TestClient, session: dict[str, Any], body: bytes) -> None:
    path = f"/v1/sessions/{session['session']}/predict"
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["field"]) == (422, "queries")


def test_a_query_that_is_no_number_is_refused(client: TestClient) -> None:
    support = [{"vector": [0, 0, 0], "label": "a"}, {"vector": [1, 1, 1], "label": "b"}]
    session = client.post("/v1/sessions", json={"model": "vectors", "support": support}).json()["session"]
    for numbers, field in (
        ("[NaN, 0, 0]", "queries[0].vector[0]"),
        ("[0, 0, 1e39]", "queries[0]"),
        ("[0, 0, 3e38]", "queries"),
        ("[0, 0]", "queries[0]"),
    ):
        content = f'{{"queries": [{{"vector": {numbers}}}]}}'
        response = client.post(f"/v1/sessions/{session}/predict", content=content, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()["field"]) == (422, field)
    image = client.post(f"/v1/sessions/{session}/predict", **as_json(ASK))
    assert (image.status_code, image.json()["code"], image.json()["field"]) == (422, "wrong_input_kind", "queries[0]")
