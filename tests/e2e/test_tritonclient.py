"""A live server, asked by the client that Triton and KServe users have."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from innerloop import Client
from tests.tiny import SHAPES, drawing, png

LABELS = list(SHAPES[:3])
PICTURES = np.array([png(drawing(shape, width=4)) for shape in LABELS], dtype=np.object_)


@pytest.fixture
def client(url: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


@pytest.fixture
def session(url: str, drawings: Path) -> str:
    with Client(url) as client:
        return client.adapt(None, {shape: sorted((drawings / shape).iterdir()) for shape in LABELS}).id


@pytest.fixture
def vectors(url: str) -> str:
    with Client(url) as client:
        return client.adapt("vectors", {"a": [[1.0, 0, 0], [1.2, 0, 0]], "b": [[0, 1.0, 0], [0, 1.2, 0]]}).id


def tensor(name: str, values: np.ndarray, datatype: str, *, binary: bool = True) -> InferInput:
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def words(result: InferResult, name: str) -> list[str]:
    return [each.decode() if isinstance(each, bytes) else each for each in result.as_numpy(name).tolist()]


def test_server_and_models_are_live_ready_and_described(client: InferenceServerClient, session: str) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "innerloop"
    assert client.is_model_ready(session)
    assert client.is_model_ready("omniglot", "1")
    assert not client.is_model_ready("ses_" + "0" * 32)
    told = client.get_model_metadata(session)
    assert (told["labels"], told["inputs"][0]["datatype"], told["versions"]) == (LABELS, "BYTES", ["1"])


def test_image_files_are_sent_and_answered_in_binary(client: InferenceServerClient, session: str) -> None:
    result = client.infer(session, [tensor("images", PICTURES, "BYTES")], request_id="seven")
    assert words(result, "label") == words(result, "labels") == LABELS
    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [0, 1, 2]
    assert result.as_numpy("probabilities").sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert result.as_numpy("score") == pytest.approx(result.as_numpy("probabilities").max(axis=1))
    assert result.get_response()["id"] == "seven"
    assert all("binary_data_size" in each["parameters"] for each in result.get_response()["outputs"])


def test_pixels_and_vectors_are_sent_in_binary_and_in_json(client: InferenceServerClient, session: str, vectors: str) -> None:
    pixels = np.stack([np.asarray(drawing(shape, width=4)) for shape in LABELS])
    numbers = np.array([[0, 1.1, 0], [1.1, 0, 0]], dtype=np.float32)
    for binary in (True, False):
        wanted = [InferRequestedOutput("label", binary_data=binary)]
        seen = client.infer(session, [tensor("images", pixels, "UINT8", binary=binary)], outputs=wanted)
        assert words(seen, "label") == LABELS
        assert seen.as_numpy("score") is None
        found = client.infer(vectors, [tensor("vectors", numbers, "FP32", binary=binary)], outputs=wanted)
        assert words(found, "label") == ["b", "a"]


def test_a_revision_is_a_version(client: InferenceServerClient, session: str) -> None:
    result = client.infer(session, [tensor("images", PICTURES, "BYTES")], model_version="1")
    assert result.get_response()["model_version"] == "1"
    with pytest.raises(InferenceServerException, match="404"):
        client.infer(session, [tensor("images", PICTURES, "BYTES")], model_version="2")


def test_a_meta_model_adapts_and_answers_in_one_call_as_our_own_client_has_it(client: InferenceServerClient, url: str) -> None:
    examples = [png(drawing(shape, width=3)) for shape in LABELS]
    support = [
        tensor("support_images", np.array(examples, dtype=np.object_), "BYTES"),
        tensor("support_labels", np.array(LABELS, dtype=np.object_), "BYTES"),
    ]
    result = client.infer("omniglot", [*support, tensor("images", PICTURES, "BYTES")])
    with Client(url) as ours:
        support_set = {label: [example] for label, example in zip(LABELS, examples, strict=True)}
        expected = ours.predict("omniglot", support_set, list(PICTURES)).predictions
    assert words(result, "label") == [each.label for each in expected]
    assert result.as_numpy("score").tolist() == pytest.approx([each.score for each in expected], abs=1e-5)


def test_a_wrong_shape_is_refused_in_words(client: InferenceServerClient, vectors: str) -> None:
    with pytest.raises(InferenceServerException, match=r"vectors\[0\]: expected 3 numbers, got 2") as refused:
        client.infer(vectors, [tensor("vectors", np.zeros((1, 2), np.float32), "FP32")])
    assert refused.value.status() == "422"
    with pytest.raises(InferenceServerException, match=r"vectors: expected FP32 \[N, D\], got FP32 \[3\]"):
        client.infer(vectors, [tensor("vectors", np.zeros(3, np.float32), "FP32")])


def test_sessions_that_never_were_or_have_ended_are_told_apart(client: InferenceServerClient, url: str) -> None:
    with Client(url) as ours:
        brief = ours.adapt("vectors", {"a": [[1.0, 0, 0]], "b": [[0, 1.0, 0]]}, ttl_seconds=0.05).id
    time.sleep(0.1)
    query = tensor("vectors", np.zeros((1, 3), np.float32), "FP32")
    for name, status, says in ((brief, "410", "has expired"), ("ses_" + "0" * 32, "404", "no session")):
        with pytest.raises(InferenceServerException, match=says) as refused:
            client.infer(name, [query])
        assert refused.value.status() == status


def test_more_than_a_request_may_hold_is_refused(client: InferenceServerClient, session: str) -> None:
    with pytest.raises(InferenceServerException, match="at most 1,000,000 bytes") as refused:
        client.infer(session, [tensor("images", np.zeros((1, 1000, 1001), np.uint8), "UINT8")])
    assert refused.value.status() == "413"
