import json
import struct
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.api.forms import ANSWERS, ASK, LEARN, QUERIES, SUPPORT, as_json, encoded
from tests.tiny import FakeClock, drawing

IMAGES = {"name": "images", "datatype": "BYTES", "shape": [3], "data": [encoded(each) for each in QUERIES]}
VECTORS = [("a", [1, 0, 0]), ("a", [1.2, 0, 0]), ("b", [0, 1, 0])]


@pytest.fixture
def session(client: TestClient) -> str:
    return str(client.post("/v1/sessions", **as_json(LEARN)).json()["session"])


@pytest.fixture
def vectors(client: TestClient) -> str:
    support = [{"label": label, "vector": vector} for label, vector in VECTORS]
    return str(client.post("/v1/sessions", json={"model": "vectors", "support": support}).json()["session"])


def infer(client: TestClient, name: str, *inputs: dict[str, Any], **more: Any) -> Any:
    return client.post(f"/v2/models/{name}/infer", json={"inputs": inputs, **more})


def outputs(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {each["name"]: np.reshape(each["data"], each["shape"]).tolist() for each in response.json()["outputs"]}


def refused(response: Any) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Request-ID"]
    assert set(response.json()) == {"error"}
    return response.status_code, response.json()["error"]


def test_the_server_says_that_it_lives_is_ready_and_takes_binary_tensors(client: TestClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json()["name"] == "innerloop"
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]


def test_a_session_says_what_it_takes_and_gives(client: TestClient, session: str) -> None:
    told = client.get(f"/v2/models/{session}").json()
    assert (told["name"], told["versions"], told["labels"]) == (session, ["1"], ["bar", "cross", "ring"])
    assert told["inputs"] == [{"name": "images", "datatype": "BYTES", "shape": [-1]}]
    assert {each["name"]: each["shape"] for each in told["outputs"]} == {
        "label": [-1],
        "score": [-1],
        "probabilities": [-1, 3],
        "labels": [3],
    }
    assert client.get(f"/v2/models/{session}/ready").json() == {"name": session, "ready": True}


def test_a_session_of_vectors_says_how_long_they_are(client: TestClient, vectors: str) -> None:
    assert client.get(f"/v2/models/{vectors}").json()["inputs"] == [{"name": "vectors", "datatype": "FP32", "shape": [-1, 3]}]


def test_a_meta_model_is_a_model_too(client: TestClient) -> None:
    told = client.get("/v2/models/tiny").json()
    assert told["versions"] == ["1"]
    assert [each["name"] for each in told["inputs"]] == ["support_images", "support_labels", "images"]
    for path in ("tiny/ready", "tiny/versions/1", "tiny/versions/1/ready", "tiny@1"):
        assert client.get(f"/v2/models/{path}").status_code == 200
    assert refused(client.get("/v2/models/damaged/ready"))[0] == 503
    assert refused(client.get("/v2/models/tiny/versions/2"))[0] == 404


def test_it_answers_as_predict_does(client: TestClient, session: str) -> None:
    response = infer(client, session, IMAGES, id="seven")
    found = outputs(response)
    assert {name: response.json()[name] for name in ("model_name", "model_version", "id")} == {
        "model_name": session,
        "model_version": "1",
        "id": "seven",
    }
    expected = client.post(f"/v1/sessions/{session}/predict", **as_json(ASK, top_k=3)).json()["predictions"]
    assert found["label"] == [each["label"] for each in expected] == ANSWERS
    assert found["labels"] == ["bar", "cross", "ring"]
    assert found["score"] == pytest.approx([each["score"] for each in expected])
    for row, each in zip(found["probabilities"], expected, strict=True):
        shares = {one["label"]: one["score"] for one in each["top"]}
        assert dict(zip(found["labels"], row, strict=True)) == pytest.approx(shares)


def test_hand_written_bytes_are_answered_in_bytes(client: TestClient, session: str) -> None:
    """The binary tensor data extension, with nobody's client in between."""
    packed = b"".join(struct.pack("<I", len(each)) + each for each in QUERIES)
    tensor = {"name": "images", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": len(packed)}}
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in ("label", "probabilities")]
    head = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    response = client.post(f"/v2/models/{session}/infer", content=head + packed, headers=headers)
    assert response.status_code == 200, response.text
    length = int(response.headers["Inference-Header-Content-Length"])
    told, rest = json.loads(response.content[:length]), response.content[length:]
    words = b"".join(struct.pack("<I", len(each)) + each.encode() for each in ANSWERS)
    assert [each["parameters"]["binary_data_size"] for each in told["outputs"]] == [len(words), 36]
    assert rest[: len(words)] == words
    assert sum(struct.unpack("<9f", rest[len(words) :])) == pytest.approx(3, abs=1e-5)


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_pixels_are_answered_as_the_file_that_holds_them(client: TestClient, session: str, channels: int | None) -> None:
    mode = {None: "L", 1: "L", 3: "RGB", 4: "RGBA"}[channels]
    pixels = np.stack([np.asarray(drawing(shape, width=5).convert(mode)) for shape in ANSWERS])
    if channels == 1:
        pixels = pixels[..., None]
    found = outputs(
        infer(client, session, {"name": "images", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.ravel().tolist()})
    )
    assert found["label"] == ANSWERS
    assert found["probabilities"] == pytest.approx(np.array(outputs(infer(client, session, IMAGES))["probabilities"]), abs=1e-5)


def test_vectors_are_answered(client: TestClient, vectors: str) -> None:
    found = outputs(infer(client, vectors, {"name": "vectors", "datatype": "FP32", "shape": [2, 3], "data": [[0, 1, 0], [1, 0, 0]]}))
    assert found["label"] == ["b", "a"]


def test_each_revision_is_a_version(client: TestClient, session: str) -> None:
    client.post(f"/v1/sessions/{session}/examples", **as_json(LEARN))
    assert client.get(f"/v2/models/{session}").json()["versions"] == ["1", "2"]
    assert client.get(f"/v2/models/{session}/versions/1").json()["versions"] == ["1"]
    assert infer(client, session, IMAGES).json()["model_version"] == "2"
    assert infer(client, f"{session}/versions/1", IMAGES).json()["model_version"] == "1"
    assert refused(infer(client, f"{session}/versions/3", IMAGES))[0] == 404
    assert refused(client.get(f"/v2/models/{session}/versions/3/ready"))[0] == 404


SUPPORT_INPUTS = (
    {"name": "support_images", "datatype": "BYTES", "shape": [len(SUPPORT)], "data": [encoded(image) for _, image in SUPPORT]},
    {"name": "support_labels", "datatype": "BYTES", "shape": [len(SUPPORT)], "data": [label for label, _ in SUPPORT]},
)


@pytest.mark.parametrize("name", ["tiny", "tiny/versions/1"])
def test_a_meta_model_adapts_and_answers_in_one_call(client: TestClient, session: str, name: str) -> None:
    response = infer(client, name, *SUPPORT_INPUTS, IMAGES)
    found = outputs(response)
    assert (response.json()["model_name"], response.json()["model_version"]) == ("tiny", "1")
    assert (found["label"], found["labels"]) == (ANSWERS, ["bar", "cross", "ring"])
    assert found["probabilities"] == pytest.approx(np.array(outputs(infer(client, session, IMAGES))["probabilities"]), abs=1e-5)


BLANK = {"name": "support_labels", "datatype": "BYTES", "shape": [1], "data": [" "]}


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ((IMAGES,), "support_images or support_vectors, got images; a meta-model is adapted first"),
        ((SUPPORT_INPUTS[0], IMAGES), "expected support_labels"),
        ((*SUPPORT_INPUTS,), "one input images or vectors"),
        ((SUPPORT_INPUTS[0], BLANK, IMAGES), r"support_labels[0]: expected a label"),
        ((SUPPORT_INPUTS[0], {**BLANK, "data": ["x"]}, IMAGES), "one of support_labels for each of 6 examples, got 1"),
        ((*SUPPORT_INPUTS, IMAGES, {**BLANK, "name": "more"}), "got 'more'"),
    ],
)
def test_a_support_set_that_cannot_be_used_is_refused(client: TestClient, inputs: tuple[dict[str, Any], ...], says: str) -> None:
    status, error = refused(infer(client, "tiny", *inputs))
    assert status == 422
    assert says in error


@pytest.mark.parametrize(
    ("tensor", "status", "says"),
    [
        ({**IMAGES, "shape": [3, 1]}, 422, "expected BYTES [N] or UINT8"),
        ({**IMAGES, "shape": [4]}, 422, "expected 4 elements"),
        ({**IMAGES, "data": ["eA==", "", ""]}, 415, "images[0]: expected an image"),
        ({**IMAGES, "data": [IMAGES["data"][0], "", ""]}, 422, "images[1]"),
        ({"name": "images", "datatype": "UINT8", "shape": [2, 1, 1, 2], "data": [0, 0, 0, 0]}, 422, "1, 3 or 4"),
        ({"name": "images", "datatype": "UINT8", "shape": [1, 2, 2], "data": [0, 0, 0, 0]}, 422, "blank"),
        ({"name": "images", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}, 422, "expected BYTES [N]"),
        ({"name": "vectors", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}, 422, "vectors[0]: expected an image"),
        ({"name": "pixels", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}, 422, "images or vectors, got pixels"),
        ({"name": "images", "datatype": "UINT8", "shape": [31, 1, 1], "data": [0] * 31}, 413, "at most 30 queries, got 31"),
        ({"name": "images", "datatype": "UINT8", "shape": [1, 101, 100], "data": [0] * 10_100}, 413, "at most 10,000 pixels"),
    ],
)
def test_a_tensor_that_cannot_be_used_is_refused(client: TestClient, session: str, tensor: dict[str, Any], status: int, says: str) -> None:
    found = refused(infer(client, session, tensor))
    assert (found[0], says in found[1]) == (status, True), found


def test_a_vector_of_another_length_is_refused(client: TestClient, vectors: str) -> None:
    status, error = refused(infer(client, vectors, {"name": "vectors", "datatype": "FP32", "shape": [1, 2], "data": [0, 1]}))
    assert (status, error) == (422, "vectors[0]: expected 3 numbers, got 2")


@pytest.mark.parametrize("path", ["", "/ready", "/versions/1", "/infer"])
def test_what_is_not_there_or_has_expired_is_refused(client: TestClient, session: str, clock: FakeClock, path: str) -> None:
    def call(name: str) -> Any:
        return infer(client, name, IMAGES) if path == "/infer" else client.get(f"/v2/models/{name}{path}")

    assert refused(call("ses_" + "0" * 32))[0] == 404
    assert refused(call("nothing"))[0] == 404
    clock.now += timedelta(days=1)
    status, error = refused(call(session))
    assert (status, "has expired" in error) == (410, True)


def test_what_the_framework_refuses_has_the_form_of_the_protocol(client: TestClient, session: str) -> None:
    assert refused(client.get("/v2/nothing"))[0] == 404
    assert refused(client.delete("/v2"))[0] == 405
    assert refused(client.get(f"/v2/models/{session}/versions/one"))[0] == 422
    assert client.get("/v2x").headers["Content-Type"] == "application/problem+json"


def test_a_body_of_too_many_bytes_or_in_another_encoding_is_refused(client: TestClient, session: str) -> None:
    assert refused(client.post(f"/v2/models/{session}/infer", content=b" " * 300_001))[0] == 413
    response = client.post(f"/v2/models/{session}/infer", content=b"{}", headers={"Content-Encoding": "gzip"})
    assert refused(response) == (415, "expected a body without Content-Encoding; send it uncompressed")
