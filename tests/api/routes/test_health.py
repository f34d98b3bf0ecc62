from importlib.metadata import version

from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.config import Settings


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
