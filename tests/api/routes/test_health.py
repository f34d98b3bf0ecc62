from importlib.metadata import version

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.api.app import create_app
from service.config import Settings
from tests.api.conftest import LogEntry


def test_a_server_that_serves_is_alive_and_ready(client: TestClient) -> None:
    assert (client.get("/livez").json(), client.get("/readyz").json()) == ({"status": "alive"}, {"status": "ready"})


def test_a_server_that_stops_is_alive_but_not_ready(client: TestClient, app: FastAPI) -> None:
    app.state.ready = False
    response = client.get("/readyz")
    app.state.ready = True
    assert (response.status_code, response.json()["code"]) == (503, "draining")
    assert client.get("/livez").status_code == 200


def test_readiness_lasts_as_long_as_the_application_runs(settings: Settings) -> None:
    app = create_app(settings)
    assert not app.state.ready
    with TestClient(app):
        assert app.state.ready
    assert not app.state.ready


def test_the_server_tells_version_device_and_default(client: TestClient) -> None:
    info = client.get("/v1/info").json()
    assert (info["version"], info["device"], info["default_model"]) == (version("innerloop"), "cpu", "tiny")
    assert info["limits"]["ttl_seconds"] == 7 * 24 * 3600


def test_metrics_are_text_that_prometheus_reads_and_fill_no_log(client: TestClient, log: list[LogEntry]) -> None:
    response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert "innerloop_ready_workers" in {each.name for each in text_string_to_metric_families(response.text)}
    assert log == []
