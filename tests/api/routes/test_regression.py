"""A meta-model that predicts numbers, through every call: adapt, grow, predict, list, export and import, one call, /v2."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.config import Settings
from service.learner.encoders.mlp import Mlp
from service.learner.episodes import Support
from service.learner.meta_model import MetaModel, adapt, answer
from service.learner.recipe import Recipe
from tests.tiny import tiny_model, write_tiny

POINTS = [(-2.0, 0.5), (0.0, 1.5), (1.0, -0.25), (3.0, 2.0)]
ASKED = [-1.0, 0.5, 2.0]

CONTEXT = Recipe(scope="context", head="output", way=1, step_size=0.1, steps_default=2, steps_max=5)
HEAD = Recipe(scope="head", head="output", way=2, step_size=0.05, steps_default=3, steps_max=5)
MODELS = {
    "waves": tiny_model(Mlp(inputs=1, width=8, context=2), CONTEXT),
    "pairs": tiny_model(Mlp(inputs=1, width=8), HEAD),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store = tmp_path_factory.mktemp("regressions")
    for name, model in MODELS.items():
        write_tiny(store, name, model)
    write_tiny(store, "classes", tiny_model(Mlp(inputs=1)))
    settings = Settings(model_store=store, default_model="waves", device="cpu", torch_threads=1, store="memory")
    with TestClient(create_app(settings)) as client:
        yield client


def support(points: list[tuple[float, Any]] = POINTS) -> list[dict[str, Any]]:
    return [{"vector": [x], "target": y} for x, y in points]


def queries() -> list[dict[str, Any]]:
    return [{"vector": [x]} for x in ASKED]


def adapted(client: TestClient, **changes: Any) -> dict[str, Any]:
    made = client.post("/v1/sessions", json={"support": support(), **changes})
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def expected(model: MetaModel, points: list[tuple[float, float]], steps: int) -> list[list[float]]:
    """What the slow loop answers."""
    inputs, targets = (torch.tensor(values).view(-1, 1) for values in zip(*points, strict=True))
    params = adapt(model, Support(inputs, targets, 1), steps).params
    found: list[list[float]] = answer(model, params, torch.tensor(ASKED).view(-1, 1)).tolist()
    return found


def predicted(client: TestClient, session: str, **options: Any) -> list[list[float]]:
    found = client.post(f"/v1/sessions/{session}/predict", json={"queries": queries(), **options})
    assert found.status_code == 200, found.text
    return [one["target"] for one in found.json()["predictions"]]


def test_a_session_answers_what_the_slow_loop_answers(client: TestClient) -> None:
    made = adapted(client, steps=4)
    assert (made["labels"], made["shots"], made["scope"], made["leave_one_out_accuracy"]) == ([], {}, "context", None)
    assert len(made["losses"]) == 5
    assert made["losses"][-1] < made["losses"][0]
    np.testing.assert_allclose(predicted(client, made["session"]), expected(MODELS["waves"], POINTS, 4), atol=1e-5)


def test_the_order_of_examples_changes_nothing(client: TestClient) -> None:
    one, other = adapted(client), adapted(client, support=support(POINTS[::-1]))
    assert one["weights_digest"] == other["weights_digest"]


def test_a_grown_session_is_as_if_all_examples_had_come_at_once(client: TestClient) -> None:
    made = adapted(client, support=support(POINTS[:2]))
    grown = client.post(f"/v1/sessions/{made['session']}/examples", json={"support": support(POINTS[2:])}).json()
    assert (grown["revision"], grown["weights_digest"]) == (2, adapted(client)["weights_digest"])
    listed = client.get(f"/v1/sessions/{made['session']}/examples").json()["examples"]
    assert [(each["label"], each["target"]) for each in listed] == [(None, [y]) for _, y in POINTS]


def test_several_numbers_are_predicted_together(client: TestClient) -> None:
    points: list[tuple[float, Any]] = [(x, [y, -2 * y]) for x, y in POINTS]
    made = adapted(client, model="pairs", support=support(points))
    found = predicted(client, made["session"])
    inputs = torch.tensor([x for x, _ in points]).view(-1, 1)
    params = adapt(MODELS["pairs"], Support(inputs, torch.tensor([y for _, y in points]), 2), 3).params
    np.testing.assert_allclose(found, answer(MODELS["pairs"], params, torch.tensor(ASKED).view(-1, 1)), atol=1e-5)


def test_the_nearest_examples_are_listed_with_their_targets(client: TestClient) -> None:
    made = adapted(client)
    answer = client.post(f"/v1/sessions/{made['session']}/predict", json={"queries": [{"vector": [3.0]}], "nearest": 2}).json()
    first, second = answer["predictions"][0]["nearest"]
    assert first == {"id": 4, "label": None, "target": [2.0], "distance": pytest.approx(0, abs=1e-5)}
    assert second["distance"] > first["distance"]


def test_one_call_adapts_answers_and_keeps_nothing(client: TestClient) -> None:
    before = client.get("/v1/sessions").json()
    found = client.post("/v1/predict", json={"support": support(), "queries": queries(), "steps": 2}).json()
    np.testing.assert_allclose([one["target"] for one in found["predictions"]], expected(MODELS["waves"], POINTS, 2), atol=1e-5)
    assert (found["session"], client.get("/v1/sessions").json()) == (None, before)


def test_an_exported_session_comes_back_and_answers_the_same(client: TestClient) -> None:
    made = adapted(client)
    file = client.get(f"/v1/sessions/{made['session']}/weights").content
    back = client.post("/v1/sessions/import", content=file, headers={"Content-Type": "application/octet-stream"})
    assert back.status_code == 201, back.text
    assert predicted(client, back.json()["session"]) == predicted(client, made["session"])


def test_an_onnx_file_answers_the_same(client: TestClient, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made = adapted(client)
    (tmp_path / "session.onnx").write_bytes(client.get(f"/v1/sessions/{made['session']}/weights", params={"format": "onnx"}).content)
    [found] = onnxruntime.InferenceSession(tmp_path / "session.onnx").run(["targets"], {"inputs": np.array(ASKED, np.float32)[:, None]})
    np.testing.assert_allclose(found, predicted(client, made["session"]), atol=1e-4)


def test_the_inference_protocol_gives_the_numbers(client: TestClient) -> None:
    made = adapted(client)
    described = client.get(f"/v2/models/{made['session']}").json()
    assert described["outputs"] == [{"name": "target", "datatype": "FP32", "shape": [-1, 1]}]
    asked = {"inputs": [{"name": "vectors", "datatype": "FP32", "shape": [3, 1], "data": ASKED}]}
    [output] = client.post(f"/v2/models/{made['session']}/infer", json=asked).json()["outputs"]
    assert (output["name"], output["shape"]) == ("target", [3, 1])
    np.testing.assert_allclose(output["data"], np.ravel(predicted(client, made["session"])), atol=1e-6)


def test_the_inference_protocol_takes_targets_beside_the_support_set_of_a_meta_model(client: TestClient) -> None:
    described = client.get("/v2/models/waves").json()
    assert described["inputs"][1] == {"name": "support_targets", "datatype": "FP32", "shape": [-1, 1]}
    assert [each["name"] for each in described["inputs"]] == ["support_vectors", "support_targets", "vectors"]
    seen, known = zip(*POINTS, strict=True)
    inputs = [
        {"name": "support_vectors", "datatype": "FP32", "shape": [4, 1], "data": seen},
        {"name": "support_targets", "datatype": "FP32", "shape": [4, 1], "data": known},
        {"name": "vectors", "datatype": "FP32", "shape": [3, 1], "data": ASKED},
    ]
    [output] = client.post("/v2/models/waves/infer", json={"inputs": inputs}).json()["outputs"]
    np.testing.assert_allclose(output["data"], np.ravel(predicted(client, adapted(client)["session"])), atol=1e-6)
    for wrong, said in (
        ({**inputs[1], "name": "support_labels", "datatype": "BYTES", "shape": [4], "data": ["a"] * 4}, "expected support_targets"),
        ({**inputs[1], "shape": [2, 2]}, "expected one of support_targets for each of 4 examples, got 2"),
        ({**inputs[1], "shape": [4], "data": known}, "expected support_targets, FP32 [N, outputs]"),
    ):
        refused = client.post("/v2/models/waves/infer", json={"inputs": [inputs[0], wrong, inputs[2]]})
        assert refused.status_code == 422
        assert said in refused.json()["error"]


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"support": [{"vector": [1.0], "label": "a"}]}, "expected a `target` of 1, got the label 'a'"),
        ({"support": [{"vector": [1.0], "target": [1.0, 2.0]}]}, "expected a `target` of 1, got 2 numbers"),
        ({"support": [{"vector": [1.0]}]}, "exactly one of `label` and `target`"),
        ({"support": [{"vector": [1.0], "target": 1.0, "label": "a"}]}, "exactly one of `label` and `target`"),
        ({"support": [{"vector": [1.0], "target": "high"}]}, "target"),
        ({"support": [{"vector": [1.0], "target": []}]}, "target"),
        ({"support": []}, "got none"),
        ({"support": [{"vector": [1.0], "target": 1.0}], "model": "classes"}, "expected a `label` for every example"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_and_says_what_is_expected(client: TestClient, sent: dict[str, Any], says: str) -> None:
    refused = client.post("/v1/sessions", json=sent)
    assert refused.status_code == 422
    assert refused.json()["code"] == "unusable_support"
    assert says in refused.json()["detail"]


def test_one_example_is_enough(client: TestClient) -> None:
    assert len(predicted(client, adapted(client, support=support(POINTS[:1]))["session"])) == 3


def test_a_model_says_that_it_predicts_numbers(client: TestClient) -> None:
    found = client.get("/v1/models/waves").json()
    assert (found["recipe"]["head"], found["recipe"]["way"], found["input"]["kind"]) == ("output", 1, "vector")
