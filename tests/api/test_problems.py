import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from innerloop.errors import ApiError
from innerloop.wire import Problem
from service import errors
from service.api.app import create_app
from service.api.problems import FRAMEWORK_CODES, STATUSES, TITLES
from service.config import Settings
from service.runtime.limits import Limits
from service.runtime.runtime import Runtime
from service.sessions.session import Session
from service.sessions.store import Contents
from tests.api.conftest import LogEntry, served_by
from tests.api.forms import ANSWERS, ASK, BOTH, LEARN, QUERIES, SUPPORT, Task, as_json, as_multipart, as_zip, encoded, raw, zip_body, zipped
from tests.tiny import SHAPES, drawing, png

GOOD = SUPPORT[-1][1]
BLANK = png(drawing("nothing"))
HUGE = png(drawing("ring", size=101))  # 10,201 pixels, of at most 10,000
LAST = len(SUPPORT)  # the place of one more example

MULTIPART = "multipart/form-data; boundary=b"


def json_with(*examples: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The good request in JSON, with more examples or options."""
    body = as_json(LEARN, **options)["json"]
    return raw(json.dumps({**body, "support": [*body["support"], *examples]}))


def multipart_with(*examples: tuple[str, bytes], **options: Any) -> dict[str, Any]:
    return as_multipart(Task([*SUPPORT, *examples]), **options)


def zip_with(files: dict[str, bytes], **options: Any) -> dict[str, Any]:
    return zip_body(zipped({f"{label}/{n}.png": image for n, (label, image) in enumerate(SUPPORT)} | files), **options)


def vectors(*vectors: object, model: str = "vectors") -> dict[str, Any]:
    support = [{"label": str(n), "vector": vector} for n, vector in enumerate(vectors)]
    return raw(json.dumps({"model": model, "support": support}))


def many(count: int, classes: int) -> Task:
    return Task([(f"{n % classes:02}", png(drawing(SHAPES[n % 5]))) for n in range(count)])


def encrypted(content: bytes) -> bytes:
    """The zip with the flag set that says its first member is encrypted."""
    changed = bytearray(content)
    changed[6] |= 1
    changed[changed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


@dataclass(frozen=True, slots=True)
class Bad:
    """A request that must be refused, and how; `said` is a part of the detail."""

    request: dict[str, Any]
    status: int
    code: str
    field: str | None = None
    said: str = ""
    path: str = "/v1/sessions"


BAD = {
    # the support set, in JSON
    "json: no support": Bad(raw(b"{}"), 422, "unusable_support", "support", "at least two classes, got none"),
    "json: empty support": Bad(raw(b'{"support": []}'), 422, "unusable_support", "support"),
    "json: support is null": Bad(raw(b'{"support": null}'), 422, "invalid_request", "support"),
    "json: support is text": Bad(raw(b'{"support": "ring"}'), 422, "invalid_request", "support"),
    "json: an example is null": Bad(raw(b'{"support": [null]}'), 422, "invalid_request", "support[0]"),
    "json: one class": Bad(as_json(Task(SUPPORT[:3])), 422, "unusable_support", "support", "only 'bar'"),
    "json: a label without an image": Bad(json_with({"label": "vee"}), 422, "invalid_request", f"support[{LAST}]", "`image`"),
    "json: image and vector": Bad(
        json_with({"label": "vee", "image": encoded(GOOD), "vector": [1]}), 422, "invalid_request", f"support[{LAST}]"
    ),
    "json: an image without a label": Bad(json_with({"image": encoded(GOOD)}), 422, "unusable_support", f"support[{LAST}].label"),
    "json: empty label": Bad(json_with({"label": "", "image": encoded(GOOD)}), 422, "unusable_support", f"support[{LAST}].label"),
    "json: blank label": Bad(json_with({"label": " \t", "image": encoded(GOOD)}), 422, "unusable_support", f"support[{LAST}].label"),
    "json: null label": Bad(json_with({"label": None, "image": encoded(GOOD)}), 422, "unusable_support", f"support[{LAST}].label"),
    "json: long label": Bad(json_with({"label": "l" * 201, "image": encoded(GOOD)}), 422, "unusable_support", f"support[{LAST}].label"),
    "json: unknown field of an example": Bad(
        json_with({"label": "vee", "image": encoded(GOOD), "colour": 1}), 422, "invalid_request", f"support[{LAST}].colour"
    ),
    "json: not base64": Bad(json_with({"label": "vee", "image": "a"}), 422, "invalid_request", f"support[{LAST}].image"),
    "json: not an image": Bad(json_with({"label": "vee", "image": encoded(b"text")}), 415, "not_an_image", f"support[{LAST}]"),
    "json: truncated image": Bad(json_with({"label": "vee", "image": encoded(GOOD[:-30])}), 422, "broken_image", f"support[{LAST}]"),
    "json: image cut in its header": Bad(json_with({"label": "vee", "image": encoded(GOOD[:20])}), 422, "broken_image", f"support[{LAST}]"),
    "json: zero-byte image": Bad(json_with({"label": "vee", "image": ""}), 422, "broken_image", f"support[{LAST}]", "zero-byte"),
    "json: blank image": Bad(json_with({"label": "vee", "image": encoded(BLANK)}), 422, "blank_image", f"support[{LAST}]"),
    "json: image of too many pixels": Bad(
        json_with({"label": "vee", "image": encoded(HUGE)}), 413, "too_large", f"support[{LAST}]", "at most 10,000 pixels"
    ),
    "json: too many examples": Bad(as_json(many(41, 2)), 413, "too_large", "support", "at most 40 examples"),
    "json: too many classes": Bad(as_json(many(26, 13)), 413, "too_large", "support", "of 12 classes"),
    # the support set, as multipart
    "multipart: no support": Bad(raw(b"--b--\r\n", MULTIPART), 422, "unusable_support", "support"),
    "multipart: one class": Bad(as_multipart(Task(SUPPORT[:3])), 422, "unusable_support", "support", "only 'bar'"),
    "multipart: a label without an image": Bad(
        {**multipart_with(), "data": {"labels": [*(label for label, _ in SUPPORT), "vee"]}}, 422, "unusable_support", "labels", "7 labels"
    ),
    "multipart: an image without a label": Bad(
        {**multipart_with(), "data": {"labels": [label for label, _ in SUPPORT[1:]]}}, 422, "unusable_support", "labels", "5 labels"
    ),
    "multipart: empty label": Bad(multipart_with(("", GOOD)), 422, "unusable_support", f"labels[{LAST}]"),
    "multipart: blank label": Bad(multipart_with((" ", GOOD)), 422, "unusable_support", f"labels[{LAST}]"),
    "multipart: not an image": Bad(multipart_with(("vee", b"text")), 415, "not_an_image", f"images[{LAST}] (image.png)"),
    "multipart: truncated image": Bad(multipart_with(("vee", GOOD[:-30])), 422, "broken_image", f"images[{LAST}] (image.png)"),
    "multipart: zero-byte file": Bad(multipart_with(("vee", b"")), 422, "broken_image", f"images[{LAST}] (image.png)", "zero-byte"),
    "multipart: text for an image": Bad({"files": [("x", b"")], "data": {"images": "text"}}, 422, "invalid_request", "images[0]"),
    "multipart: a file for a label": Bad({"files": [("labels", b"bar")]}, 422, "unusable_support", "labels[0]"),
    "multipart: too many examples": Bad(as_multipart(many(41, 2)), 413, "too_large", "support"),
    "multipart: far too many parts": Bad(as_multipart(many(100, 2)), 422, "invalid_request", None, "Too many files"),
    "multipart: too many fields": Bad(
        {"files": [("images", GOOD)], "data": {str(n): "" for n in range(200)}}, 422, "invalid_request", None, "Too many fields"
    ),
    # the support set, as a zip
    "zip: no support": Bad(zip_body(zipped({})), 422, "unusable_support", "support"),
    "zip: one class": Bad(as_zip(Task(SUPPORT[:3])), 422, "unusable_support", "support", "only 'bar'"),
    "zip: a class without images": Bad(zip_with({"vee/": b""}), 422, "broken_archive", "vee/", "got none"),
    "zip: an image beside the classes": Bad(zip_with({"vee.png": GOOD}), 422, "invalid_request", "vee.png", "the folder of its class"),
    "zip: blank label": Bad(zip_with({" /1.png": GOOD}), 422, "unusable_support", " /1.png", "label"),
    "zip: not an image": Bad(zip_with({"vee/1.txt": b"text"}), 415, "not_an_image", "vee/1.txt"),
    "zip: truncated image": Bad(zip_with({"vee/1.png": GOOD[:-30]}), 422, "broken_image", "vee/1.png"),
    "zip: zero-byte file": Bad(zip_with({"vee/1.png": b""}), 422, "broken_image", "vee/1.png", "zero-byte"),
    "zip: not a zip": Bad(zip_body(b"PK but no zip"), 422, "broken_archive"),
    "zip: cut in the middle": Bad(zip_body(as_zip(LEARN)["content"][:400]), 422, "broken_archive"),
    "zip: an encrypted member": Bad(zip_body(encrypted(as_zip(LEARN)["content"])), 422, "broken_archive", "bar/000.png", "encrypted"),
    "zip: empty body": Bad(zip_body(b""), 422, "broken_archive"),
    # options
    "negative steps": Bad(json_with(steps=-1), 422, "invalid_request", "steps"),
    "one step too many": Bad(json_with(steps=11), 422, "steps_out_of_range", "steps", "0 to 10"),
    "steps beyond every integer": Bad(json_with(steps=10**400), 422, "steps_out_of_range", "steps"),
    "steps that are no number": Bad(json_with(steps="many"), 422, "invalid_request", "steps"),
    "half a step": Bad(json_with(steps=1.5), 422, "invalid_request", "steps"),
    "NaN steps": Bad(json_with(steps=float("nan")), 422, "invalid_request", "steps"),
    "multipart: steps that are no number": Bad(multipart_with(steps="many"), 422, "invalid_request", "steps"),
    "multipart: negative steps": Bad(multipart_with(steps=-1), 422, "invalid_request", "steps"),
    "multipart: one step too many": Bad(multipart_with(steps=11), 422, "steps_out_of_range", "steps"),
    "zip: steps that are no number": Bad(zip_with({}, steps="many"), 422, "invalid_request", "steps"),
    "zip: one step too many": Bad(zip_with({}, steps=11), 422, "steps_out_of_range", "steps"),
    "a scope that is not offered": Bad(json_with(scope="body"), 422, "scope_not_offered", "scope", "among head"),
    "a scope that is none": Bad(json_with(scope="everything"), 422, "scope_not_offered", "scope"),
    "unknown model": Bad(json_with(model="nothing"), 404, "model_not_found", "model", "tiny@1"),
    "unknown version": Bad(json_with(model="tiny@2"), 404, "model_not_found", "model"),
    "a version that is no number": Bad(json_with(model="tiny@new"), 404, "model_not_found", "model"),
    "empty model": Bad(json_with(model=""), 404, "model_not_found", "model"),
    "damaged model": Bad(json_with(model="damaged"), 503, "model_refused", "model", "sha256"),
    "zip: unknown model": Bad(zip_with({}, model="nothing"), 404, "model_not_found", "model"),
    "multipart: unknown model": Bad(multipart_with(model="nothing"), 404, "model_not_found", "model"),
    "no lifetime": Bad(json_with(ttl_seconds=0), 422, "invalid_request", "ttl_seconds"),
    "infinite lifetime": Bad(json_with(ttl_seconds=float("inf")), 422, "invalid_request", "ttl_seconds"),
    "a lifetime over the limit": Bad(json_with(ttl_seconds=604801), 422, "invalid_request", "ttl_seconds", "at most 604800"),
    "a name too long": Bad(json_with(name="n" * 201), 422, "invalid_request", "name"),
    "json: unknown option": Bad(json_with(colour=1), 422, "invalid_request", "colour"),
    "multipart: unknown option": Bad(multipart_with(colour=1), 422, "invalid_request", "colour"),
    "zip: unknown option": Bad(zip_with({}, colour=1), 422, "invalid_request", "colour"),
    "json: an option twice": Bad(raw(b'{"support": [], "steps": 1, "steps": 2}'), 422, "invalid_request", "steps", "2 times"),
    "multipart: an option twice": Bad(
        {**multipart_with(), "data": {"labels": [label for label, _ in SUPPORT], "steps": ["1", "2"]}}, 422, "invalid_request", "steps"
    ),
    "zip: an option twice": Bad({**zip_with({}), "params": {"steps": ["1", "2"]}}, 422, "invalid_request", "steps"),
    "multipart: a file for an option": Bad({"files": [("steps", b"1")]}, 422, "invalid_request", "steps"),
    "json: queries with a new session": Bad(as_json(BOTH), 422, "invalid_request", "queries[0]", "/predict"),
    "multipart: queries with a new session": Bad(as_multipart(BOTH), 422, "invalid_request", "queries[0] (query.png)"),
    "zip: queries with a new session": Bad(as_zip(BOTH), 422, "invalid_request", "queries/000.png"),
    # numbers
    "NaN in a vector": Bad(vectors([0, 0, 0], [1, float("nan"), 1]), 422, "invalid_request", "support[1].vector[1]", "finite"),
    "infinity in a vector": Bad(vectors([float("-inf"), 0, 0], [1, 1, 1]), 422, "invalid_request", "support[0].vector[0]", "finite"),
    "a number beyond float32": Bad(vectors([0, 0, 0], [1, 1e39, 1]), 422, "unusable_vector", "support[1]", "1e+39 at place 1"),
    "text in a vector": Bad(vectors([0, 0, 0], [1, "one", 1]), 422, "invalid_request", "support[1].vector[1]"),
    "a vector too short": Bad(vectors([0, 0, 0], [1, 1]), 422, "unusable_vector", "support[1]", "expected 3 numbers, got 2"),
    "an empty vector": Bad(vectors([0, 0, 0], []), 422, "unusable_vector", "support[1]"),
    "numbers so large that the loss is not finite": Bad(vectors([0, 0, 0], [3e38, 3e38, 3e38]), 422, "adaptation_diverged", "steps"),
    "a vector for a model of images": Bad(vectors([0, 0, 0], [1, 1, 1], model="tiny"), 422, "wrong_input_kind", "support[0]"),
    "an image for a model of vectors": Bad(json_with(model="vectors"), 422, "wrong_input_kind", "support[0]"),
    # the body itself
    "no content type": Bad({"content": b"{}"}, 415, "unsupported_media_type", None, "application/zip"),
    "another content type": Bad(raw(b"{}", "text/plain"), 415, "unsupported_media_type", None, "'text/plain'"),
    "a plain form": Bad({"data": {"labels": "a"}}, 415, "unsupported_media_type"),
    "json: empty body": Bad(raw(b""), 422, "invalid_request"),
    "json: null body": Bad(raw(b"null"), 422, "invalid_request", None, "JSON object"),
    "json: a list": Bad(raw(b"[]"), 422, "invalid_request", None, "JSON object"),
    "json: a broken body": Bad(raw(b'{"support": ['), 422, "invalid_request", None, "JSON"),
    "json: not unicode": Bad(raw(b'{"support": "\xff"}'), 422, "invalid_request"),
    "json: lists in lists": Bad(raw(b"[" * 100_000), 422, "invalid_request", None, "recursion"),
    "json: objects in objects": Bad(raw(b'{"a":' * 50_000), 422, "invalid_request", None, "recursion"),
    "json: half a character for a label": Bad(
        raw(b'{"support": [{"label": "\\ud800", "image": ""}]}'), 422, "unusable_support", "support[0].label"
    ),
    "json: half a character for a model": Bad(json_with(model="\ud800"), 404, "model_not_found", "model"),
    "multipart: no boundary": Bad(raw(b"--b--\r\n", "multipart/form-data"), 422, "invalid_request", None, "boundary"),
    "multipart: no multipart": Bad(raw(b"{}", MULTIPART), 422, "invalid_request", None, "multipart"),
    "multipart: a part without a name": Bad(raw(b"--b\r\nX: y\r\n\r\n\r\n--b--\r\n", MULTIPART), 422, "invalid_request", None, "name"),
    # the one-call form
    "no queries": Bad(as_json(LEARN), 422, "invalid_request", "queries", path="/v1/predict"),
    "multipart: no queries": Bad(as_multipart(LEARN), 422, "invalid_request", "queries", path="/v1/predict"),
    "zip: no queries": Bad(as_zip(LEARN), 422, "invalid_request", "queries", path="/v1/predict"),
    "no support for queries": Bad(as_json(ASK), 422, "unusable_support", "support", path="/v1/predict"),
    "too many queries": Bad(
        as_multipart(Task(SUPPORT, QUERIES * 11)), 413, "too_large", "queries", "at most 30 queries", path="/v1/predict"
    ),
    "a query that is no image": Bad(as_json(Task(SUPPORT, [GOOD, b"text"])), 415, "not_an_image", "queries[1]", path="/v1/predict"),
    "a lifetime for what is not kept": Bad(as_json(BOTH, ttl_seconds=1), 422, "invalid_request", "ttl_seconds", path="/v1/predict"),
}


def problem_of(response: httpx2.Response) -> Problem:
    """The problem document of an error; whatever the error, it agrees with the answer that carries it."""
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = Problem.model_validate(response.json(), extra="forbid")
    assert problem.status == response.status_code
    assert problem.trace_id == response.headers["X-Request-ID"]
    assert (problem.type, problem.title) == (f"urn:innerloop:problem:{problem.code}", TITLES[problem.status])
    return problem


def refused(response: httpx2.Response, status: int, code: str) -> Problem:
    problem = problem_of(response)
    assert (problem.status, problem.code) == (status, code), problem.detail
    return problem


def assert_serving(client: TestClient) -> None:
    answer = client.post("/v1/predict", **as_json(BOTH))
    assert [one["label"] for one in answer.json()["predictions"]] == ANSWERS


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_request_is_refused_with_what_is_wrong_and_the_server_keeps_serving(client: TestClient, bad: Bad) -> None:
    response = client.post(bad.path, **bad.request)
    problem = refused(response, bad.status, bad.code)
    assert problem.field == bad.field, problem.detail
    assert bad.said in problem.detail
    assert client.get("/v1/sessions").json()["sessions"] == []
    assert_serving(client)


def test_half_a_character_in_a_name_is_answered_as_it_came(client: TestClient) -> None:
    response = client.post("/v1/sessions", **raw(b'{"\\ud800": 1, "\\ud800": 2}'))
    assert (response.status_code, response.json()["code"], response.json()["field"]) == (422, "invalid_request", "\ud800")


def concrete(kind: type[errors.ServiceError]) -> set[type[errors.ServiceError]]:
    """The errors with a code of their own, at and below a class."""
    below = {each for sub in kind.__subclasses__() for each in concrete(sub)}
    return below | ({kind} if "code" in vars(kind) else set())


def test_every_error_that_can_reach_http_has_one_status() -> None:
    elsewhere = concrete(errors.RegistryError) | concrete(errors.StartError) | concrete(errors.TrainingError)
    assert set(STATUSES) == concrete(errors.ServiceError) - elsewhere


def test_every_code_the_server_answers_is_one_class_of_the_client() -> None:
    answered = {error.code for error in STATUSES} | set(FRAMEWORK_CODES.values()) | {"internal_error"}
    classes = ApiError.__subclasses__()
    assert answered == {error.code for error in classes}
    assert len(classes) == len(answered)


def test_every_status_has_a_title() -> None:
    assert {*STATUSES.values(), *FRAMEWORK_CODES, 500} <= set(TITLES)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "route_not_found"),
        ("GET", "/ui/nothing.js", 404, "route_not_found"),
        ("POST", "/", 405, "method_not_allowed"),
        ("PUT", "/v1/sessions", 405, "method_not_allowed"),
        ("GET", "/v1/predict", 405, "method_not_allowed"),
        ("GET", "/v1/models/nothing", 404, "model_not_found"),
        ("GET", "/v1/models/tiny@2", 404, "model_not_found"),
        ("GET", "/v1/models/damaged", 503, "model_refused"),
        ("GET", "/v1/sessions/ses_none", 404, "session_not_found"),
        ("DELETE", "/v1/sessions/ses_none", 404, "session_not_found"),
        ("GET", "/v1/sessions?limit=0", 422, "invalid_request"),
        ("GET", "/v1/sessions?limit=1001", 422, "invalid_request"),
        ("GET", "/v1/sessions?limit=all", 422, "invalid_request"),
    ],
)
def test_a_call_without_a_body_is_refused_with_a_problem_too(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    refused(client.request(method, path), status, code)


def test_a_method_that_is_not_allowed_is_told_which_are(client: TestClient) -> None:
    assert "GET" in client.put("/v1/models").headers["Allow"]


def test_a_full_queue_says_when_to_come_back(client: TestClient, app: FastAPI) -> None:
    runtime: Runtime = app.state.runtime
    session = client.post("/v1/sessions", **as_json(LEARN)).json()["session"]
    with runtime.fitter.worker.admitted(20_000):
        for path, request in (("/v1/sessions", LEARN), (f"/v1/sessions/{session}/predict", ASK), ("/v1/predict", BOTH)):
            response = client.post(path, **as_json(request))
            refused(response, 429, "queue_full")
            assert int(response.headers["Retry-After"]) >= 1
    assert_serving(client)


def test_a_session_of_weights_that_are_no_longer_there_is_refused(client: TestClient, app: FastAPI) -> None:
    runtime: Runtime = app.state.runtime
    made = client.post("/v1/sessions", **as_json(LEARN)).json()["session"]

    async def adapted_from_other_weights() -> Session:
        session = replace(await runtime.store.get("default", made), id="ses_other", weights_sha256="0" * 64)
        await runtime.store.create(session, Contents(b"", None))
        return session

    session = asyncio.run(adapted_from_other_weights())
    refused(client.post(f"/v1/sessions/{session.id}/predict", **as_json(ASK)), 409, "model_changed")
    assert client.post(f"/v1/sessions/{made}/predict", **as_json(ASK)).status_code == 200


def test_a_server_that_drains_takes_no_new_work(settings: Settings) -> None:
    app = create_app(settings)
    with TestClient(app) as client:
        session = client.post("/v1/sessions", **as_json(LEARN)).json()["session"]
        app.state.runtime.fitter.worker.drain()
        refused(client.post("/v1/sessions", **as_json(LEARN)), 503, "draining")
        refused(client.post(f"/v1/sessions/{session}/predict", **as_json(ASK)), 503, "draining")
        assert client.get(f"/v1/sessions/{session}").status_code == 200


@dataclass(frozen=True, slots=True)
class BrokenRuntime:
    """Fails wherever a route calls it."""

    error: Exception
    limits: Limits = field(default_factory=Limits)

    @property
    def catalog(self) -> object:
        raise self.error

    async def create_session(self, *_: object, **__: object) -> object:
        class Inside(BaseModel):
            number: int

        return Inside.model_validate({"number": "secret"})


def test_an_unexpected_error_tells_the_caller_nothing_but_where_to_look(client: TestClient, app: FastAPI, log: list[LogEntry]) -> None:
    with served_by(app, BrokenRuntime(ZeroDivisionError("a secret of the server"))):
        problem = refused(client.get("/v1/models"), 500, "internal_error")
    assert "secret" not in json.dumps(problem.model_dump())
    logged = next(entry for entry in log if entry["event"] == "request failed")
    assert logged["trace_id"] == problem.trace_id
    assert isinstance(logged["exc_info"], ZeroDivisionError)


def test_a_mistake_of_the_servers_own_is_not_blamed_on_the_caller(client: TestClient, app: FastAPI) -> None:
    with served_by(app, BrokenRuntime(ZeroDivisionError())):
        refused(client.post("/v1/sessions", **as_json(LEARN)), 500, "internal_error")


def test_the_server_lives_after_an_unexpected_error(client: TestClient, app: FastAPI) -> None:
    with served_by(app, None):
        refused(client.get("/v1/info"), 500, "internal_error")
    assert_serving(client)


def test_an_error_without_a_status_is_unexpected(client: TestClient, app: FastAPI, log: list[LogEntry]) -> None:
    with served_by(app, BrokenRuntime(errors.BadWeightsError("nobody thought that this would come from a route"))):
        problem = refused(client.get("/v1/models"), 500, "internal_error")
    assert "nobody" not in problem.detail
    assert any(isinstance(entry.get("exc_info"), errors.BadWeightsError) for entry in log)
