"""The three forms of a request body, for /docs: FastAPI cannot infer them, because one route takes all three."""

from typing import Any

from fastapi import Response
from pydantic import BaseModel

from innerloop import wire
from service.api.bodies import FILE
from service.api.dependencies import CallHeaders
from service.api.problems import FRAMEWORK_CODES, STATUSES

FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}


_CODES = sorted({(status, error.code) for error, status in STATUSES.items()} | set(FRAMEWORK_CODES.items()) | {(500, "internal_error")})

PROBLEM = {
    "description": "An error, as RFC 9457 has it; `code` is one of: " + ", ".join(f"{code} ({status})" for status, code in _CODES),
    "content": {"application/problem+json": {"schema": wire.Problem.model_json_schema()}},
}


# Of every route that takes a `Call`.
CALL = {
    "parameters": [
        {"name": name, "in": "header", "required": False, "description": schema["description"], "schema": schema}
        for name, schema in CallHeaders.model_json_schema()["properties"].items()
    ]
}


def _forms(json_body: type[BaseModel], options: type[BaseModel], parts: dict[str, Any], zip_holds: str) -> dict[str, Any]:
    """Describe one route's multipart, zip and JSON bodies."""
    fields = options.model_json_schema()["properties"]
    multipart = {"type": "object", "properties": {**parts, **fields}, "required": list(parts)}
    archive = {"type": "string", "format": "binary", "description": f"{zip_holds}; options go in the query string"}
    content = {
        "multipart/form-data": {"schema": multipart},
        "application/zip": {"schema": archive},
        "application/json": {"schema": _inline(json_body.model_json_schema())},
    }
    query = [
        {"name": name, "in": "query", "required": False, "description": schema.get("description", ""), "schema": schema}
        for name, schema in fields.items()
    ]
    return {"requestBody": {"required": True, "content": content}, "parameters": [*query, *CALL["parameters"]]}


def _inline(schema: dict[str, Any]) -> dict[str, Any]:
    """Put definitions where they are used: a body has no `components` of its own."""
    definitions = schema.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, dict) and "$ref" in node:
            return resolved(definitions[node["$ref"].rsplit("/", 1)[1]])
        if isinstance(node, dict):
            return {key: resolved(value) for key, value in node.items()}
        return [resolved(each) for each in node] if isinstance(node, list) else node

    return dict(resolved(schema))


LABELS = {"type": "array", "items": {"type": "string"}, "description": "one for every image, in the same order"}

ADAPT = _forms(wire.CreateSession, wire.SessionOptions, {"images": FILES, "labels": LABELS}, "one folder of images per class")
GROW = _forms(wire.GrowSession, wire.GrowOptions, {"images": FILES, "labels": LABELS}, "one folder of images per class")
PREDICT = _forms(wire.PredictRequest, wire.PredictOptions, {"queries": FILES}, "images, answered in the order of their names")


ONE_CALL = _forms(
    wire.OneCallRequest,
    wire.OneCallOptions,
    {"images": FILES, "labels": LABELS, "queries": FILES},
    "a folder `support` with one folder of images per class, and a folder `queries`",
)

_EXPORT = {"type": "string", "format": "binary"}

WEIGHTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file. Its metadata says what it is of: model, labels, digest, input and preprocessing, every value JSON",
        "content": {FILE: {"schema": _EXPORT}},
    }
}
IMPORT = {
    **CALL,
    "requestBody": {
        "required": True,
        "content": {FILE: {"schema": {**_EXPORT, "description": "what GET /v1/sessions/{id}/weights gave, as safetensors"}}},
    },
}

PROTOCOL_ERROR: dict[str, Any] = {
    "description": "An error as the Open Inference Protocol has it, under the statuses of the other calls",
    "content": {"application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}}},
}

_TENSOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "datatype": {"enum": ["BYTES", "UINT8", "FP32"]},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "parameters": {"type": "object"},
        "data": {"type": "array", "description": "nested as the shape is, or flat; images as base64"},
    },
    "required": ["name", "datatype", "shape"],
}
_BINARY = {
    FILE: {"schema": {**_EXPORT, "description": "the JSON, Inference-Header-Content-Length bytes of it, and binary tensors behind it"}}
}


def _inference(tensors: str) -> dict[str, Any]:
    properties = {"id": {"type": "string"}, "parameters": {"type": "object"}, tensors: {"type": "array", "items": _TENSOR}}
    return {"application/json": {"schema": {"type": "object", "properties": properties, "required": [tensors]}}, **_BINARY}


INFER: dict[str, Any] = {
    "response_class": Response,
    "responses": {200: {"description": "The outputs", "content": _inference("outputs")}},
    "openapi_extra": {**CALL, "requestBody": {"required": True, "content": _inference("inputs")}},
}
