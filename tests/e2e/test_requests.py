import io
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx2
import pytest

from tests.api.forms import ANSWERS, ASK, BOTH, FORMS, LEARN, SUPPORT, Task, as_json, raw
from tests.e2e.conftest import MAX_BODY_BYTES
from tests.e2e.server import ROOT, Server
from tests.tiny import drawing, png

REQUESTS = 40  # of each of the two threads


@pytest.fixture
def client(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=60) as client:
        yield client


def assert_serving(client: httpx2.Client) -> None:
    answer = client.post("/v1/predict", **as_json(BOTH)).json()
    assert [one["label"] for one in answer["predictions"]] == ANSWERS


def talk(url: str, prefix: str, shapes: list[str], together: Barrier) -> None:
    """Adapt to shapes under names of one's own, then ask again and again; every answer must be this session's."""
    support = [(f"{prefix}-{shape}", png(drawing(shape, width=width))) for shape in shapes for width in (2, 4)]
    with httpx2.Client(base_url=url, timeout=60) as client:
        together.wait()
        session = client.post("/v1/sessions", **as_json(Task(support), name=prefix)).json()
        assert session["labels"] == sorted(f"{prefix}-{shape}" for shape in shapes)
        path = f"/v1/sessions/{session['session']}/predict"
        first: dict[str, dict[str, float]] = {}
        for n in range(REQUESTS):
            asked = [shapes[(n + k) % len(shapes)] for k in range(1 + n % 4)]
            form = list(FORMS.values())[n % 3]
            answer = client.post(path, **form(Task(queries=[png(drawing(shape, width=4)) for shape in asked]))).json()
            assert (answer["session"], answer["weights_digest"]) == (session["session"], session["weights_digest"])
            for shape, prediction in zip(asked, answer["predictions"], strict=True):
                assert prediction["label"] == f"{prefix}-{shape}"
                scores = {one["label"]: one["score"] for one in prediction["top"]}
                assert scores == pytest.approx(first.setdefault(shape, scores), abs=1e-5)
        once = client.post("/v1/predict", **as_json(Task(support, [png(drawing(shapes[0]))]))).json()
        assert once["predictions"][0]["label"] == f"{prefix}-{shapes[0]}"


def test_two_threads_at_once_each_get_their_own_sessions_answers(url: str) -> None:
    together = Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        talks = [
            threads.submit(talk, url, "left", ["bar", "corner", "cross"], together),
            threads.submit(talk, url, "right", ["ring", "vee", "bar"], together),
        ]
        for each in talks:
            each.result()


def test_the_three_forms_of_a_support_set_give_the_same_weights(client: httpx2.Client) -> None:
    sessions = [client.post("/v1/sessions", **form(LEARN)).json() for form in FORMS.values()]
    assert len({session["weights_digest"] for session in sessions}) == 1
    answers = [client.post(f"/v1/sessions/{sessions[0]['session']}/predict", **form(ASK)).json() for form in FORMS.values()]
    assert answers[0]["predictions"] == answers[1]["predictions"] == answers[2]["predictions"]


def test_a_damaged_model_is_listed_with_the_reason_while_others_serve(client: httpx2.Client) -> None:
    models = {one["name"]: one for one in client.get("/v1/models").json()["models"]}
    assert {name: one["status"] for name, one in models.items()} == {"damaged": "refused", "omniglot": "serving", "vectors": "serving"}
    assert "sha256" in models["damaged"]["reason"]
    assert client.post("/v1/sessions", **as_json(LEARN, model="damaged")).status_code == 503
    assert_serving(client)


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
@pytest.mark.parametrize("content_type", ["application/json", "application/zip", "multipart/form-data; boundary=b"])
def test_a_body_over_the_limit_is_answered_with_a_problem(client: httpx2.Client, content_type: str, chunked: bool) -> None:
    start = b'--b\r\nContent-Disposition: form-data; name="images"; filename="1.png"\r\n\r\n'
    parts = [start, *([b"x" * 50_000] * (4 * MAX_BODY_BYTES // 50_000))]
    response = client.post("/v1/sessions", **raw(iter(parts) if chunked else b"".join(parts), content_type))
    assert (response.status_code, response.headers["Content-Type"]) == (413, "application/problem+json")
    assert response.json()["code"] == "too_large"
    assert_serving(client)


def head(size: int, content_type: str = "application/json") -> bytes:
    return f"POST /v1/sessions HTTP/1.1\r\nHost: test\r\nContent-Type: {content_type}\r\nContent-Length: {size}\r\n\r\n".encode()


def test_a_body_that_says_it_is_over_the_limit_is_answered_before_it_is_sent(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as caller:
        caller.sendall(head(MAX_BODY_BYTES + 1))
        assert caller.recv(1000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("content_type", ["application/json", "application/zip", "multipart/form-data; boundary=b"])
def test_a_caller_who_hangs_up_in_the_middle_of_a_body_disturbs_nobody(server: Server, client: httpx2.Client, content_type: str) -> None:
    before = client.get("/v1/sessions").json()
    with socket.create_connection(("127.0.0.1", server.port)) as leaving:
        leaving.sendall(head(10_000, content_type) + b"--b\r\n" + b"x" * 5_000)
        assert_serving(client)
    assert_serving(client)
    assert client.get("/v1/sessions").json() == before
    assert server.errors() == []


def test_a_caller_who_does_not_wait_for_the_answer_disturbs_nobody(server: Server, client: httpx2.Client) -> None:
    body = json.dumps(as_json(LEARN)["json"]).encode()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as leaving:
            leaving.sendall(head(len(body)) + body)
    assert_serving(client)


@pytest.mark.parametrize(
    "noise", [b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00", b"POST /v1/sessions HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_no_http_disturbs_nobody(server: Server, client: httpx2.Client, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as caller:
        caller.sendall(noise)
        assert_serving(client)
    assert server.errors() == []


def test_every_line_of_the_log_is_one_json_object(server: Server, client: httpx2.Client) -> None:
    client.get("/v1/models/nothing", headers={"X-Request-ID": "find-me"})
    client.get("/v1/models")  # the line is written after its answer
    [line] = [line for line in server.logged() if line.get("trace_id") == "find-me"]
    assert (line["event"], line["status"], line["level"]) == ("request", 404, "info")
    [refused] = [line for line in server.logged() if line["event"] == "model refused"]
    assert refused["model"] == "damaged@1"


def test_the_command_that_the_server_prints_answers(server: Server) -> None:
    printed = server.out.read_text()
    command = printed[printed.index("curl") :].strip()
    assert server.url in command
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    asked = re.findall(r"queries/(\w+)-1\.png", command)
    assert len(answer["predictions"]) == len(asked) == 2
    assert {one["label"] for one in answer["predictions"][0]["top"]} <= set(re.findall(r"labels=(\w+)", command))


def test_a_picture_is_classified_whatever_its_format(client: httpx2.Client) -> None:
    files = []
    for format_ in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        buffer = io.BytesIO()
        drawing("ring", width=4).convert("RGB").save(buffer, format_)
        files.append(buffer.getvalue())
    answer = client.post("/v1/predict", **as_json(Task(SUPPORT, files))).json()
    assert [one["label"] for one in answer["predictions"]] == ["ring"] * 6
