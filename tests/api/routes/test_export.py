from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from onnx import TensorProto, helper
from safetensors.torch import load

from service.runtime import onnx_file
from service.runtime.catalog import Served
from service.runtime.onnx_graphs import OnnxGraphs
from service.sessions.contents import digest, pack_weights
from tests.api.forms import ASK, LEARN, as_json
from tests.runtime.exports import properties
from tests.tiny import FakeClock

FILE = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def session(client: TestClient) -> dict[str, Any]:
    return dict(client.post("/v1/sessions", **as_json(LEARN, name="first")).json())


def exported(client: TestClient, session: dict[str, Any], **params: Any) -> bytes:
    response = client.get(f"/v1/sessions/{session['session']}/weights", params=params)
    assert response.status_code == 200, response.text
    return response.content


def taken(client: TestClient, content: bytes, headers: dict[str, str] | None = None, **params: Any) -> Any:
    return client.post("/v1/sessions/import", content=content, headers={**FILE, **(headers or {})}, params=params)


def refused(response: Any) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


def predictions(client: TestClient, session: str) -> Any:
    response = client.post(f"/v1/sessions/{session}/predict", **as_json(ASK, top_k=3))
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def test_weights_come_as_a_file_with_a_name_and_a_tag(client: TestClient, session: dict[str, Any]) -> None:
    response = client.get(f"/v1/sessions/{session['session']}/weights")
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["ETag"] == f'"{session["weights_digest"]}"'
    assert response.headers["Content-Disposition"] == f'attachment; filename="tiny-1-{session["session"]}-r1.safetensors"'
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert response.content == exported(client, session, format="safetensors", revision=1)


def test_weights_are_plain_safetensors(client: TestClient, session: dict[str, Any]) -> None:
    assert digest(pack_weights(load(exported(client, session)))) == session["weights_digest"]


def test_a_session_goes_out_and_comes_back_in(client: TestClient, session: dict[str, Any], clock: FakeClock) -> None:
    clock.now += timedelta(seconds=5)
    response = taken(client, exported(client, session), name="second", ttl_seconds=60)
    made = response.json()
    assert (response.status_code, response.headers["Location"]) == (201, f"/v1/sessions/{made['session']}")
    assert response.headers["ETag"] == '"1"'
    assert (made["name"], made["keeps_support"], made["added"], made["revision"]) == ("second", False, [], 1)
    assert made["session"] != session["session"]
    assert datetime.fromisoformat(made["created_at"]) == clock.now
    assert datetime.fromisoformat(made["expires_at"]) == clock.now + timedelta(seconds=60)
    same = ("model", "weights_digest", "labels", "shots", "scope", "steps", "losses", "leave_one_out_accuracy")
    assert {name: made[name] for name in same} == {name: session[name] for name in same}
    assert predictions(client, made["session"]) == predictions(client, session["session"])
    assert all(one["unfamiliar"] is not None for one in predictions(client, made["session"]))


def test_an_imported_session_cannot_grow(client: TestClient, session: dict[str, Any]) -> None:
    made = taken(client, exported(client, session)).json()["session"]
    assert refused(client.post(f"/v1/sessions/{made}/examples", **as_json(LEARN))) == (409, "support_not_kept")


def test_an_import_sent_again_is_replayed(client: TestClient, session: dict[str, Any]) -> None:
    content, key = exported(client, session), {"Idempotency-Key": "once"}
    first, second = taken(client, content, key), taken(client, content, key)
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert refused(taken(client, content, key, name="other")) == (422, "idempotency_key_reused")


def test_what_is_no_export_is_refused_and_says_so(client: TestClient, session: dict[str, Any]) -> None:
    content = exported(client, session)
    for damaged in (b"", b"PK\x03\x04", content[:-1], content[:-1] + b"\xff", content.replace(b'"ring', b'"rung')):
        response = taken(client, damaged)
        assert refused(response) == (422, "unusable_export")
        assert response.json()["detail"].endswith("export the session again")
    assert len(client.get("/v1/sessions").json()["sessions"]) == 1


def test_only_a_file_is_taken(client: TestClient, session: dict[str, Any]) -> None:
    content = exported(client, session)
    for kind in ("application/json", "application/zip", "multipart/form-data; boundary=b"):
        assert refused(taken(client, content, {"Content-Type": kind})) == (415, "unsupported_media_type")
    assert refused(client.post("/v1/sessions/import", content=content)) == (415, "unsupported_media_type")


def test_a_file_of_too_many_bytes_is_refused(client: TestClient) -> None:
    assert refused(taken(client, bytes(300_001))) == (413, "too_large")

    def in_parts() -> Any:
        yield from (bytes(100_000) for _ in range(4))

    assert refused(client.post("/v1/sessions/import", content=in_parts(), headers=FILE)) == (413, "too_large")


@pytest.mark.parametrize(
    "params", [{"ttl_seconds": 0}, {"ttl_seconds": "inf"}, {"ttl_seconds": 604801}, {"name": "x" * 201}, {"steps": 3}, {"format": "onnx"}]
)
def test_options_that_cannot_be_are_refused(client: TestClient, session: dict[str, Any], params: dict[str, Any]) -> None:
    response = taken(client, exported(client, session), **params)
    assert refused(response) == (422, "invalid_request")
    assert response.json()["field"] == next(iter(params))


def test_weights_of_what_is_not_there_are_not_found(client: TestClient, session: dict[str, Any]) -> None:
    place = f"/v1/sessions/{session['session']}/weights"
    assert refused(client.get("/v1/sessions/ses_000/weights")) == (404, "session_not_found")
    assert refused(client.get(place, params={"revision": 2})) == (404, "revision_not_found")
    assert refused(client.get(place, params={"format": "pickle"})) == (422, "invalid_request")
    client.delete(f"/v1/sessions/{session['session']}")
    assert refused(client.get(place)) == (410, "session_gone")


async def smallest(self: OnnxGraphs, served: Served) -> bytes:  # noqa: ARG001 - every meta-model gets the same
    """The smallest graph with our names, traced from nothing."""
    inputs = helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["N", 3])
    outputs = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", "way"])
    graph = helper.make_graph([helper.make_node("Softmax", ["inputs"], ["probabilities"])], "graph", [inputs], [outputs])
    return bytes(helper.make_model(graph).SerializeToString())


def test_onnx_is_a_file_of_its_own_kind(client: TestClient, session: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxGraphs, "of", smallest)
    response = client.get(f"/v1/sessions/{session['session']}/weights", params={"format": "onnx"})
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/octet-stream")
    assert response.headers["Content-Disposition"].endswith('-r1.onnx"')
    assert response.headers["ETag"] == f'"{session["weights_digest"]}"'
    assert f'"{session["weights_digest"]}"' == properties(response.content)["weights_digest"]
    assert refused(taken(client, response.content)) == (422, "unusable_export")


def test_without_its_packages_onnx_is_not_offered(client: TestClient, session: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "PACKAGES", ("onnx_that_is_not_there",))
    response = client.get(f"/v1/sessions/{session['session']}/weights", params={"format": "onnx"})
    assert refused(response) == (501, "export_unavailable")
    assert (response.json()["title"], response.json()["field"]) == ("Not offered here", "format")
    assert "pip install 'innerloop[export]'" in response.json()["detail"]
    assert exported(client, session)
