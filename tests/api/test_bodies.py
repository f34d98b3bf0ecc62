import struct
import zipfile
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.bodies import DECODERS
from tests.api.forms import ANSWERS, ASK, BOTH, FORMS, LEARN, QUERIES, SUPPORT, Task, as_json, as_multipart, as_zip, raw, zip_body, zipped
from tests.tiny import SHAPES, drawing, png

FORM = pytest.mark.parametrize("form", FORMS)


def adapted(client: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    response = client.post("/v1/sessions", **request)
    assert response.status_code == 201, response.text
    return dict(response.json())


def predicted(client: TestClient, path: str, request: dict[str, Any]) -> dict[str, Any]:
    response = client.post(path, **request)
    assert response.status_code == 200, response.text
    return dict(response.json())


def labels(answer: dict[str, Any]) -> list[str]:
    return [one["label"] for one in answer["predictions"]]


def test_the_three_forms_are_all_there_are() -> None:
    assert set(DECODERS) == {"multipart/form-data", "application/zip", "application/json"}


@pytest.mark.parametrize("steps", [0, 3])
def test_the_three_forms_of_a_support_set_give_the_same_weights(client: TestClient, steps: int) -> None:
    sessions = [adapted(client, form(LEARN, steps=steps)) for form in FORMS.values()]
    assert len({session["weights_digest"] for session in sessions}) == 1
    assert [session["shots"] for session in sessions] == [{"bar": 3, "cross": 2, "ring": 1}] * 3


def test_another_support_set_gives_other_weights(client: TestClient) -> None:
    fewer = adapted(client, as_json(Task(SUPPORT[1:])))
    assert fewer["weights_digest"] != adapted(client, as_json(LEARN))["weights_digest"]


def test_the_three_forms_of_the_same_queries_give_the_same_predictions(client: TestClient) -> None:
    session = adapted(client, as_json(LEARN))["session"]
    answers = [predicted(client, f"/v1/sessions/{session}/predict", form(ASK))["predictions"] for form in FORMS.values()]
    assert answers[0] == answers[1] == answers[2]
    assert [one["label"] for one in answers[0]] == ANSWERS


def test_the_three_forms_of_one_call_give_the_same_predictions(client: TestClient) -> None:
    answers = [predicted(client, "/v1/predict", form(BOTH, steps=2)) for form in FORMS.values()]
    assert answers[0]["predictions"] == answers[1]["predictions"] == answers[2]["predictions"]
    assert len({answer["weights_digest"] for answer in answers}) == 1
    assert labels(answers[0]) == ANSWERS


@FORM
def test_every_form_takes_every_option_of_a_session(client: TestClient, form: str) -> None:
    options = {"model": "tiny@1", "steps": 1, "scope": "head", "name": "mine", "ttl_seconds": 60}
    session = adapted(client, FORMS[form](LEARN, **options))
    assert {name: session[name] for name in ("model", "steps", "scope", "name")} == {
        name: options[name] for name in ("model", "steps", "scope", "name")
    }
    assert len(session["losses"]) == 2


@FORM
def test_every_form_takes_the_option_of_a_prediction(client: TestClient, form: str) -> None:
    session = adapted(client, as_json(LEARN))["session"]
    answer = predicted(client, f"/v1/sessions/{session}/predict", FORMS[form](ASK, top_k=1))
    assert [len(one["top"]) for one in answer["predictions"]] == [1, 1, 1]


@FORM
def test_options_in_the_query_string_count_in_every_form(client: TestClient, form: str) -> None:
    request = FORMS[form](LEARN)
    assert adapted(client, {**request, "params": {"steps": 0}})["steps"] == 0


@pytest.mark.parametrize("form", ["multipart", "json"])
def test_an_option_in_the_body_and_in_the_query_string_is_refused(client: TestClient, form: str) -> None:
    response = client.post("/v1/sessions", **FORMS[form](LEARN, steps=1), params={"steps": 2})
    assert (response.status_code, response.json()["field"]) == (422, "steps")


def test_a_label_is_stripped_and_may_be_in_any_script(client: TestClient) -> None:
    support = [("  ключ ", SUPPORT[0][1]), ("鍵", SUPPORT[-1][1])]
    for form in (as_json, as_multipart, as_zip):
        assert adapted(client, form(Task(support)))["labels"] == ["ключ", "鍵"]


def test_a_zip_may_have_a_folder_around_its_classes(client: TestClient) -> None:
    flat = adapted(client, as_zip(LEARN))
    wrapped = {f"outer/inner/{label}/{n}.png": image for n, (label, image) in enumerate(SUPPORT)}
    assert adapted(client, zip_body(zipped(wrapped)))["weights_digest"] == flat["weights_digest"]


def test_what_an_operating_system_leaves_in_a_zip_is_no_example(client: TestClient) -> None:
    files = {f"{label}/{n}.png": image for n, (label, image) in enumerate(SUPPORT)}
    litter = {"__MACOSX/": b"", "__MACOSX/bar/._0.png": b"x", ".DS_Store": b"x", "bar/Thumbs.db": b"x", ".git/": b""}
    assert adapted(client, zip_body(zipped(files | litter)))["shots"] == {"bar": 3, "cross": 2, "ring": 1}


def test_a_zip_of_queries_needs_no_folder_and_is_answered_in_the_order_of_its_names(client: TestClient) -> None:
    session = adapted(client, as_json(LEARN))["session"]
    files = {f"{name}.png": image for name, image in zip("cab", QUERIES, strict=True)}
    answer = predicted(client, f"/v1/sessions/{session}/predict", zip_body(zipped(files)))
    assert labels(answer) == [ANSWERS[1], ANSWERS[2], ANSWERS[0]]


def test_vectors_are_adapted_to_and_predicted(client: TestClient) -> None:
    corners = {"x": [9.0, 0.0, 0.0], "y": [0.0, 9.0, 0.0], "z": [0.0, 0.0, 9.0]}
    body = {"model": "vectors", "support": [{"vector": vector, "label": label} for label, vector in corners.items()]}
    queries = [{"vector": [0, 8, 0]}, {"vector": [8, 0, 0]}, {"vector": [0, 0, 8]}]
    session = adapted(client, {"json": body})
    kept = predicted(client, f"/v1/sessions/{session['session']}/predict", {"json": {"queries": queries}})
    once = predicted(client, "/v1/predict", {"json": {**body, "queries": queries}})
    assert session["model"] == "vectors@1"
    assert labels(kept) == labels(once) == ["y", "x", "z"]
    assert kept["weights_digest"] == once["weights_digest"] == session["weights_digest"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_json_may_come_in_any_unicode_encoding(client: TestClient, encoding: str) -> None:
    response = client.post("/v1/sessions", **raw('{"support": []}'.encode(encoding)))
    assert response.json()["code"] == "unusable_support"


def test_a_content_type_is_known_by_its_type_alone(client: TestClient) -> None:
    response = client.post("/v1/sessions", **raw(b'{"support": []}', "Application/JSON; charset=utf-8"))
    assert response.json()["code"] == "unusable_support"


@pytest.mark.parametrize("content_type", ["application/json", "application/zip", "multipart/form-data; boundary=b"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_body_over_the_limit_is_refused_before_it_is_decoded(client: TestClient, content_type: str, chunked: bool) -> None:
    start = b'--b\r\nContent-Disposition: form-data; name="labels"\r\n\r\n' if "multipart" in content_type else b""
    parts = [start, *([b"x" * 10_000] * 31)]
    response = client.post("/v1/sessions", **raw(iter(parts) if chunked else b"".join(parts), content_type))
    problem = response.json()
    assert (response.status_code, problem["code"], response.headers["Content-Type"]) == (413, "too_large", "application/problem+json")
    assert "at most 300,000 bytes" in problem["detail"]
    assert predicted(client, "/v1/predict", as_json(BOTH))["predictions"]


def test_a_body_at_the_limit_is_decoded(client: TestClient) -> None:
    padded = b'{"support": []' + b" " * (300_000 - 15) + b"}"
    assert client.post("/v1/sessions", **raw(padded)).json()["code"] == "unusable_support"


def test_a_zip_that_unpacks_to_more_than_allowed_is_refused_by_its_directory(client: TestClient) -> None:
    content = bytearray(zipped({"bar/1.png": SUPPORT[0][1]}))
    size_in_directory = content.index(b"PK\x01\x02") + 24
    content[size_in_directory : size_in_directory + 4] = struct.pack("<I", 300 * 2**20)
    response = client.post("/v1/sessions", **zip_body(bytes(content)))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def damaged_at(content: bytes, name: bytes, offset: int) -> bytes:
    """A zip with one byte of a member's data changed."""
    changed = bytearray(content)
    changed[changed.index(name) + len(name) + offset] ^= 255
    return bytes(changed)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_a_zip_is_named(client: TestClient, method: int) -> None:
    files = {f"{label}/{n}.png": image for n, (label, image) in enumerate(SUPPORT)}
    response = client.post("/v1/sessions", **zip_body(damaged_at(zipped(files, method=method), b"cross/3.png", 12)))
    assert (response.status_code, response.json()["code"], response.json()["field"]) == (422, "broken_archive", "cross/3.png")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_of_a_rare_compression_is_refused(client: TestClient, method: int) -> None:
    files = {f"{label}/{n}.png": image for n, (label, image) in enumerate(SUPPORT)}
    response = client.post("/v1/sessions", **zip_body(damaged_at(zipped(files, method=method), b"bar/0.png", 12)))
    assert (response.status_code, response.json()["code"], response.json()["field"]) == (422, "broken_archive", "bar/0.png")


@pytest.mark.parametrize("name", ["/vee/1.png", "//vee/1.png", "./vee/1.png"])
def test_a_zip_with_names_from_the_root_is_read_below_it(client: TestClient, name: str) -> None:
    files = {f"{label}/{n}.png": image for n, (label, image) in enumerate(SUPPORT)}
    session = adapted(client, zip_body(zipped(files | {name: png(drawing("vee"))})))
    assert session["labels"] == ["bar", "cross", "ring", "vee"]


@pytest.mark.parametrize("names", [["."], ["@"], ["/"], [".."], ["a"], ["a/", "b/1.png"]])
def test_a_zip_with_odd_names_is_refused_and_not_tripped_over(client: TestClient, names: Sequence[str]) -> None:
    content = zipped(dict.fromkeys(names, b"x")).replace(b"@", b"\0")  # Python's own writer cannot write a name that starts with NUL
    for path in ("/v1/sessions", "/v1/predict"):
        response = client.post(path, **zip_body(content))
        assert response.status_code == 422, (path, response.text)


def test_the_most_examples_classes_and_queries_allowed_are_taken(client: TestClient) -> None:
    many = Task([(f"{n % 12:02}", png(drawing(SHAPES[n % 5], shift=n % 4))) for n in range(40)], [QUERIES[0]] * 30)
    answer = predicted(client, "/v1/predict", as_multipart(many))
    assert len(answer["predictions"]) == 30
