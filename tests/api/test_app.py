from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.config import Settings
from service.errors import DeviceError
from tests.api.conftest import LogEntry
from tests.api.forms import LEARN, as_json
from tests.tiny import write_tiny


def test_a_device_that_is_not_there_stops_the_start(model_store: Path) -> None:
    with pytest.raises(DeviceError, match=r"cuda:99.*--device auto or cpu"):
        create_app(Settings(model_store=model_store, device="cuda:99"))


def test_an_empty_store_serves_no_model_and_says_so(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(model_store=tmp_path, device="cpu", store="memory"))) as client:
        assert client.get("/v1/models").json() == {"models": []}
        assert client.get("/v1/info").json()["default_model"] is None
        problem = client.post("/v1/sessions", **as_json(LEARN)).json()
        assert (problem["status"], problem["code"], problem["field"]) == (404, "model_not_found", "model")
        assert "no default" in problem["detail"]


def test_the_only_model_of_a_store_is_its_default(tmp_path: Path) -> None:
    write_tiny(tmp_path, "alone")
    with TestClient(create_app(Settings(model_store=tmp_path, device="cpu", store="memory"))) as client:
        assert client.post("/v1/sessions", **as_json(LEARN)).json()["model"] == "alone@1"


def test_a_name_is_its_newest_version_and_an_older_one_still_serves(tmp_path: Path) -> None:
    for _ in range(2):
        write_tiny(tmp_path, "tiny")
    with TestClient(create_app(Settings(model_store=tmp_path, device="cpu", store="memory"))) as client:
        assert client.post("/v1/sessions", **as_json(LEARN, model="tiny")).json()["model"] == "tiny@2"
        assert client.post("/v1/sessions", **as_json(LEARN, model="tiny@1")).json()["model"] == "tiny@1"


def test_a_refused_model_is_in_the_log_with_its_reason(model_store: Path, log: list[LogEntry]) -> None:
    create_app(Settings(model_store=model_store, device="cpu"))
    [refused] = [entry for entry in log if entry["event"] == "model refused"]
    assert refused["model"] == "damaged@1"
    assert "sha256" in refused["reason"]


def test_settings_reach_the_limits(settings: Settings, client: TestClient) -> None:
    limits = client.get("/v1/info").json()["limits"]
    assert limits["body_bytes"] == settings.max_body_bytes
    assert limits["image_pixels"] == settings.max_image_pixels
    assert (limits["examples"], limits["queries"], limits["classes"]) == (40, 30, 12)
