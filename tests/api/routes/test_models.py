import pytest
from fastapi.testclient import TestClient


def test_every_model_of_the_store_is_listed_and_a_damaged_one_with_its_reason(client: TestClient) -> None:
    models = client.get("/v1/models").json()["models"]
    assert [(one["name"], one["version"], one["status"], one["default"]) for one in models] == [
        ("damaged", 1, "refused", False),
        ("tiny", 1, "serving", True),
        ("vectors", 1, "serving", False),
    ]
    assert "sha256" in models[0]["reason"]
    assert models[1]["reason"] is None


@pytest.mark.parametrize("reference", ["tiny", "tiny@1"])
def test_a_model_tells_what_it_takes_and_how_it_adapts(client: TestClient, reference: str) -> None:
    model = client.get(f"/v1/models/{reference}").json()
    assert (model["name"], model["version"], model["default"]) == ("tiny", 1, True)
    assert (model["input"]["kind"], model["scopes"], model["steps_default"], model["steps_max"]) == ("image", ["head"], 3, 10)
    assert model["recipe"]["head"] == "prototype"
    assert [(row["way"], row["shot"], row["accuracy"]) for row in model["evaluation"]] == [(5, 1, 0.5)]
    assert len(model["weights_sha256"]) == 64


def test_a_model_of_vectors_tells_how_long_they_are(client: TestClient) -> None:
    assert client.get("/v1/models/vectors").json()["input"] == {"kind": "vector", "length": 3, "longest": None}
