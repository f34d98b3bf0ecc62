import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.runtime.runtime import Runtime
from tests.api.conftest import served_by
from tests.api.forms import ASK, LEARN, as_json

Value = Callable[..., float]


@pytest.fixture
def value(client: TestClient) -> Value:
    """Reads one number of /metrics; 0 when it is not there yet."""

    def read(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return next((one.value for each in families for one in each.samples if (one.name, one.labels) == (name, labels)), 0.0)

    return read


def requests(value: Value, method: str, route: str, status: int) -> float:
    return value("innerloop_request_duration_seconds_count", method=method, route=route, status=str(status))


def test_requests_are_counted_by_the_template_of_their_route(client: TestClient, value: Value) -> None:
    before = requests(value, "GET", "/v1/sessions/{session_id}", 404)
    for session in ("ses_1", "ses_2", "ses_3"):
        client.get(f"/v1/sessions/{session}")
    assert requests(value, "GET", "/v1/sessions/{session_id}", 404) == before + 3
    assert "ses_2" not in client.get("/metrics").text


def test_a_request_is_counted_by_how_it_ended(client: TestClient, app: FastAPI, value: Value) -> None:
    asked = [("GET", "/v1/models", 200), ("GET", "/v1/models", 500), ("DELETE", "/v1/models", 405)]
    before = [requests(value, *each) for each in asked]
    client.get("/v1/models")
    client.delete("/v1/models")
    with served_by(app, None):
        client.get("/v1/models")
    assert [requests(value, *each) for each in asked] == [count + 1 for count in before]


def test_what_a_caller_makes_up_adds_no_rows(client: TestClient, value: Value) -> None:
    before = requests(value, "GET", "none", 404), requests(value, "other", "none", 404)
    for n in range(3):
        client.get(f"/made/up/{n}")
        client.request(f"MADE{n}", "/made/up")
    assert (requests(value, "GET", "none", 404), requests(value, "other", "none", 404)) == (before[0] + 3, before[1] + 3)


def test_durations_are_in_seconds(client: TestClient, value: Value) -> None:
    labels = {"method": "POST", "route": "/v1/sessions", "status": "201"}
    before = value("innerloop_request_duration_seconds_sum", **labels)
    response = client.post("/v1/sessions", **as_json(LEARN))
    spent = sum(response.json()["milliseconds"].values()) / 1000
    assert spent <= value("innerloop_request_duration_seconds_sum", **labels) - before < 60


def test_how_things_stand_is_measured_when_it_is_asked(client: TestClient, app: FastAPI, value: Value) -> None:
    runtime: Runtime = app.state.runtime
    assert (value("innerloop_ready_workers"), value("innerloop_hot_weights_bytes"), value("innerloop_waiting_items")) == (1, 0, 0)
    made = client.post("/v1/sessions", **as_json(LEARN)).json()
    client.post(f"/v1/sessions/{made['session']}/predict", **as_json(ASK))
    app.state.ready = False
    with runtime.fitter.worker.admitted(7):
        found = value("innerloop_ready_workers"), value("innerloop_hot_weights_bytes"), value("innerloop_waiting_items")
    app.state.ready = True
    assert found == (0, runtime.hot.size_bytes, 7)
    assert runtime.hot.size_bytes > 0


def test_every_metric_of_ours_has_a_unit_and_says_what_it_is(client: TestClient) -> None:
    families = [each for each in text_string_to_metric_families(client.get("/metrics").text) if each.name.startswith("innerloop_")]
    ours = [each for each in families if not each.name.endswith("_created")]
    assert {
        "innerloop_request_duration_seconds",
        "innerloop_ready_workers",
        "innerloop_waiting_items",
        "innerloop_hot_weights_bytes",
        "innerloop_evicted",
        "innerloop_weights_loaded",
        "innerloop_refitted",
    } <= {each.name for each in ours}
    assert all(re.match(r"[A-Z].{10}", each.documentation) for each in ours)
