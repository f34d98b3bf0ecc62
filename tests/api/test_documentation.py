from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from innerloop import wire
from innerloop.wire import OneCallOptions
from service.api.dependencies import call_of
from service.api.problems import FRAMEWORK_CODES, STATUSES
from service.api.routes import examples, export, health, inference, models, predictions, sessions

FORMS = ("multipart/form-data", "application/zip", "application/json")
JSON = ("application/json",)
FILE = ("application/octet-stream",)
TENSORS = JSON + FILE

# path, method, content types of the body, statuses: a change here is a change that users see.
CALLS = {
    ("/v1/models", "get", (), ("200", "default")),
    ("/v1/models/{reference}", "get", (), ("200", "default")),
    ("/v1/sessions", "post", FORMS, ("201", "default")),
    ("/v1/sessions", "get", (), ("200", "default")),
    ("/v1/sessions/{session_id}", "get", (), ("200", "default")),
    ("/v1/sessions/{session_id}", "delete", (), ("204", "default")),
    ("/v1/sessions/{session_id}", "patch", ("application/json",), ("200", "default")),
    ("/v1/sessions", "delete", (), ("200", "default")),
    ("/v1/sessions/{session_id}/examples", "get", (), ("200", "default")),
    ("/v1/sessions/{session_id}/examples", "post", FORMS, ("200", "default")),
    ("/v1/sessions/{session_id}/examples", "delete", (), ("200", "default")),
    ("/v1/sessions/{session_id}/weights", "get", (), ("200", "default")),
    ("/v1/sessions/import", "post", FILE, ("201", "default")),
    ("/v1/sessions/{session_id}/predict", "post", FORMS, ("200", "default")),
    ("/v1/predict", "post", FORMS, ("200", "default")),
    ("/v1/info", "get", (), ("200", "default")),
    ("/v2", "get", (), ("200", "default")),
    ("/v2/health/live", "get", (), ("200", "default")),
    ("/v2/health/ready", "get", (), ("200", "default")),
    ("/v2/models/{name}", "get", (), ("200", "default")),
    ("/v2/models/{name}/ready", "get", (), ("200", "default")),
    ("/v2/models/{name}/infer", "post", TENSORS, ("200", "default")),
    ("/v2/models/{name}/versions/{version}", "get", (), ("200", "default")),
    ("/v2/models/{name}/versions/{version}/ready", "get", (), ("200", "default")),
    ("/v2/models/{name}/versions/{version}/infer", "post", TENSORS, ("200", "default")),
    ("/livez", "get", (), ("200", "default")),
    ("/readyz", "get", (), ("200", "default")),
    ("/metrics", "get", (), ("200", "default")),
}


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of the document, at any depth."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


def test_the_document_lists_every_call_with_its_forms_and_statuses(document: dict[str, Any]) -> None:
    found = {
        (path, method, tuple(operation.get("requestBody", {}).get("content", {})), tuple(operation["responses"]))
        for path, method, operation in operations(document)
    }
    assert found == CALLS


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    references = {node["$ref"] for node in nodes(document) if "$ref" in node}
    assert references
    for reference in references:
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


def test_the_document_has_what_openapi_asks_of_every_call(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for path, _, operation in operations(document):
        placed = {(one["name"], one["in"]) for one in operation.get("parameters", ())}
        assert len(placed) == len(operation.get("parameters", ()))
        assert {name for name, where in placed if where == "path"} == {part[1:-1] for part in path.split("/") if part.startswith("{")}
        assert all("description" in response for response in operation["responses"].values())
        assert all("schema" in form for form in operation.get("requestBody", {}).get("content", {}).values())


def test_the_headers_of_a_call_are_described_wherever_they_are_read(document: dict[str, Any]) -> None:
    """They are not read by FastAPI, so nothing else describes them."""
    parts = (examples, export, health, inference, models, predictions, sessions)
    found = {
        (route.path, method.lower()): call_of.__name__ in route.endpoint.__code__.co_names
        for part in parts
        for route in part.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert sum(found.values()) == 11
    for (path, method), reads in found.items():
        described = [each["name"] for each in document["paths"][path][method].get("parameters", ()) if each["in"] == "header"]
        assert ({"Request-Timeout-Ms", "Idempotency-Key"} <= set(described)) == reads, (path, method)
        assert len(described) == len(set(described))


def test_every_answer_is_described_by_a_schema(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            problem = JSON if path.startswith("/v2") else ("application/problem+json",)
            kinds = () if status == "204" else problem if status == "default" else JSON
            found = tuple(response.get("content", ()))
            other = (
                FILE
                if path.endswith("/weights")
                else TENSORS
                if path.endswith("/infer")
                else ("text/plain",)
                if path == "/metrics"
                else None
            )
            assert found == (other if other and status == "200" else kinds), (path, method, status)
            assert all(form["schema"] for form in response.get("content", {}).values())


def test_errors_are_described_with_every_code(document: dict[str, Any]) -> None:
    default = document["paths"]["/v1/sessions"]["post"]["responses"]["default"]
    codes = {error.code for error in STATUSES} | set(FRAMEWORK_CODES.values()) | {"internal_error"}
    assert all(f"{code} (" in default["description"] for code in codes)
    assert set(default["content"]["application/problem+json"]["schema"]["properties"]) == set(wire.Problem.model_fields)


@pytest.mark.parametrize(
    ("path", "body", "options", "parts"),
    [
        ("/v1/sessions", wire.CreateSession, wire.SessionOptions, {"images", "labels"}),
        ("/v1/sessions/{session_id}/predict", wire.PredictRequest, wire.PredictOptions, {"queries"}),
        ("/v1/predict", wire.OneCallRequest, OneCallOptions, {"images", "labels", "queries"}),
    ],
)
def test_every_option_is_described_in_every_form(document: dict[str, Any], path: str, body: Any, options: Any, parts: set[str]) -> None:
    operation = document["paths"][path]["post"]
    content = {kind: form["schema"].get("properties", {}) for kind, form in operation["requestBody"]["content"].items()}
    names = set(options.model_fields)
    assert set(content["multipart/form-data"]) == names | parts
    assert set(content["application/json"]) == set(body.model_fields)
    assert {one["name"] for one in operation["parameters"] if one["in"] == "query"} == names
    assert "archive" not in content["application/zip"]
