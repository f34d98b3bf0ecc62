"""A meta-model for vectors of any length, through every call: a session keeps to the length of its examples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from torch.nn import functional as F

from service.api.app import create_app
from service.config import Settings
from service.learner.encoders.identity import Identity
from service.learner.encoders.mlp import Mlp
from service.learner.episodes import Support
from service.learner.meta_model import adapt, predict
from service.learner.recipe import Recipe
from tests.tiny import tiny_model, write_tiny

WIDTH = 12
MODEL = tiny_model(Identity(width=WIDTH), Recipe(head="discriminant"))
ROWS = {"small": [[5.1, 350.0, 0.0], [4.9, 300.0, 0.0]], "large": [[7.0, 320.0, 0.0]], "flat": [[6.3, 90.0, 0.0], [5.8, 70.0, 0.0]]}
ASKED = [[5.0, 320.0, 0.0], [6.9, 330.0, 0.0], [6.0, 60.0, 0.0]]


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store, data = tmp_path_factory.mktemp("tables"), tmp_path_factory.mktemp("data")
    write_tiny(store, "tables", MODEL)
    write_tiny(store, "pairs", tiny_model(Mlp(inputs=2)))
    settings = Settings(model_store=store, data_dir=data, default_model="tables", device="cpu", torch_threads=1, store=request.param)
    with TestClient(create_app(settings)) as client:
        yield client


def support(rows: dict[str, list[list[float]]] = ROWS) -> list[dict[str, Any]]:
    return [{"vector": row, "label": label} for label, own in rows.items() for row in own]


def queries(rows: list[list[float]] = ASKED) -> list[dict[str, Any]]:
    return [{"vector": row} for row in rows]


def adapted(client: TestClient, **changes: Any) -> dict[str, Any]:
    made = client.post("/v1/sessions", json={"support": support(), **changes})
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def scores(client: TestClient, session: str) -> list[dict[str, float]]:
    found = client.post(f"/v1/sessions/{session}/predict", json={"queries": queries()})
    assert found.status_code == 200, found.text
    return [{each["label"]: each["score"] for each in one["top"]} for one in found.json()["predictions"]]


def refusal(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 422, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_session_of_three_columns_answers_what_the_slow_loop_answers(client: TestClient) -> None:
    made = adapted(client)
    labels = sorted(ROWS)
    inputs = F.pad(torch.tensor([row for label in labels for row in ROWS[label]]), (0, WIDTH - 3))
    numbered = torch.tensor([labels.index(label) for label in labels for _ in ROWS[label]])
    params = adapt(MODEL, Support(inputs, numbered, 3), 0).params
    expected = predict(MODEL, params, F.pad(torch.tensor(ASKED), (0, WIDTH - 3)))
    found = [[each[label] for label in labels] for each in scores(client, made["session"])]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [labels[row] for row in expected.argmax(dim=1)] == ["small", "large", "flat"]


def test_a_session_says_how_long_its_vectors_are(client: TestClient) -> None:
    made = adapted(client)
    assert made["length"] == 3
    assert client.get(f"/v1/sessions/{made['session']}").json()["length"] == 3
    assert client.get("/v1/models/tables").json()["input"] == {"length": None, "longest": WIDTH, "kind": "vector"}


def test_a_query_of_another_length_is_refused(client: TestClient) -> None:
    made = adapted(client)
    found = refusal(client, f"/v1/sessions/{made['session']}/predict", {"queries": queries([ASKED[0], [1.0, 2.0, 3.0, 4.0]])})
    assert (found["code"], found["field"]) == ("unusable_vector", "queries[1]")
    assert "expected 3 numbers, got 4" in found["detail"]


def test_an_example_of_another_length_is_refused_on_growth(client: TestClient) -> None:
    made = adapted(client)
    found = refusal(client, f"/v1/sessions/{made['session']}/examples", {"support": support({"new": [[1.0, 2.0]]})})
    assert (found["code"], found["field"]) == ("unusable_vector", "support[0]")
    assert "expected 3 numbers, got 2" in found["detail"]


def test_mixed_lengths_within_one_support_set_are_refused(client: TestClient) -> None:
    found = refusal(client, "/v1/sessions", {"support": support({"a": [[1.0, 2.0], [1.0]], "b": [[0.0, 1.0]]})})
    assert (found["code"], found["field"]) == ("unusable_vector", "support[1]")
    assert "expected 2 numbers, got 1" in found["detail"]


def test_one_call_refuses_queries_unlike_its_examples(client: TestClient) -> None:
    asked = client.post("/v1/predict", json={"support": support(), "queries": queries()})
    assert [each["label"] for each in asked.json()["predictions"]] == ["small", "large", "flat"]
    found = refusal(client, "/v1/predict", {"support": support(), "queries": queries([[1.0]])})
    assert "expected 3 numbers, got 1" in found["detail"]


def test_vectors_longer_than_the_meta_model_takes_are_refused(client: TestClient) -> None:
    found = refusal(client, "/v1/sessions", {"support": support({"a": [[0.0] * 13], "b": [[1.0] * 13]})})
    assert "expected 1 to 12 numbers, got 13" in found["detail"]


def test_growing_shrinking_and_forking_keep_to_the_length(client: TestClient) -> None:
    first = {"small": ROWS["small"], "large": ROWS["large"]}
    made = adapted(client, support=support(first))
    grown = client.post(f"/v1/sessions/{made['session']}/examples", json={"support": support({"flat": ROWS["flat"]})}).json()
    whole = adapted(client)
    assert (grown["length"], grown["weights_digest"]) == (3, whole["weights_digest"])
    forked = adapted(client, from_session=whole["session"], support=[])
    assert (forked["length"], forked["weights_digest"]) == (3, whole["weights_digest"])
    shrunk = client.delete(f"/v1/sessions/{made['session']}/examples", params={"id": grown["added"]}).json()
    assert (shrunk["length"], shrunk["weights_digest"]) == (3, made["weights_digest"])


def test_an_exported_session_comes_back_with_its_length(client: TestClient) -> None:
    made = adapted(client)
    file = client.get(f"/v1/sessions/{made['session']}/weights").content
    back = client.post("/v1/sessions/import", content=file, headers={"Content-Type": "application/octet-stream"})
    assert back.status_code == 201, back.text
    assert back.json()["length"] == 3
    assert scores(client, back.json()["session"]) == scores(client, made["session"])
    found = refusal(client, f"/v1/sessions/{back.json()['session']}/predict", {"queries": queries([[1.0]])})
    assert "expected 3 numbers, got 1" in found["detail"]


def test_an_onnx_file_takes_vectors_of_the_sessions_length(client: TestClient, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    made = adapted(client)
    (tmp_path / "session.onnx").write_bytes(client.get(f"/v1/sessions/{made['session']}/weights", params={"format": "onnx"}).content)
    onnx.checker.check_model(onnx.load_model(tmp_path / "session.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "session.onnx")
    assert session.get_inputs()[0].shape == ["N", 3]
    [found] = session.run(["probabilities"], {"inputs": np.array(ASKED, np.float32)})
    expected = [[each[label] for label in sorted(ROWS)] for each in scores(client, made["session"])]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_inference_protocol_says_the_length_once_it_is_known(client: TestClient) -> None:
    made = adapted(client)
    assert client.get("/v2/models/tables").json()["inputs"][2] == {"name": "vectors", "datatype": "FP32", "shape": [-1, -1]}
    assert client.get(f"/v2/models/{made['session']}").json()["inputs"] == [{"name": "vectors", "datatype": "FP32", "shape": [-1, 3]}]
    asked = {"inputs": [{"name": "vectors", "datatype": "FP32", "shape": [3, 3], "data": [n for row in ASKED for n in row]}]}
    outputs = client.post(f"/v2/models/{made['session']}/infer", json=asked).json()["outputs"]
    assert outputs[0]["data"] == ["small", "large", "flat"]


def test_the_unit_of_a_column_changes_no_answer_and_no_leave_one_out_accuracy(client: TestClient) -> None:
    factors = (1.0, 1e-4, 1.0)
    in_other_units = {label: [[x * f for x, f in zip(row, factors, strict=True)] for row in rows] for label, rows in ROWS.items()}
    one, other = adapted(client), adapted(client, support=support(in_other_units))
    assert one["leave_one_out_accuracy"] == other["leave_one_out_accuracy"] == 1
    answer = client.post(
        f"/v1/sessions/{other['session']}/predict",
        json={"queries": queries([[x * f for x, f in zip(row, factors, strict=True)] for row in ASKED])},
    )
    for before, after in zip(scores(client, one["session"]), answer.json()["predictions"], strict=True):
        assert {each["label"]: each["score"] for each in after["top"]} == pytest.approx(before, abs=1e-5)


def test_a_meta_model_of_one_length_still_has_it(client: TestClient) -> None:
    found = refusal(client, "/v1/sessions", {"model": "pairs", "support": support()})
    assert "expected 2 numbers, got 3" in found["detail"]
