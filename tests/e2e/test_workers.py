import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.forms import ANSWERS, ASK, LEARN, Task, as_json
from tests.e2e.server import READY_WITHIN, Server, running
from tests.tiny import SHAPES, drawing, png

# Each connection is one worker's, whichever the kernel chose: of so many, one in a million times all are the same one's.
CONNECTIONS = 21
CALLERS = 6
GROWTHS = 4  # of each caller


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Server]:
    """Two workers and a file of sessions that they share."""
    with running(tmp_path_factory.mktemp("workers"), model_store, workers=2, store="sqlite") as started:
        yield started


def call(server: Server, method: str, path: str, **body: Any) -> httpx2.Response:
    """One request on a connection of its own."""
    return httpx2.request(method, server.url + path, timeout=60, **body)


def everywhere(server: Server, method: str, path: str, **body: Any) -> list[httpx2.Response]:
    """The answers of both workers to one request, at once after whatever came before."""
    named = [f"{method}-{time.monotonic_ns()}-{n}" for n in range(CONNECTIONS)]
    answers = [call(server, method, path, headers={"X-Request-ID": name}, **body) for name in named]
    time.sleep(0.1)  # a line is written after its answer
    assert {line["worker"] for line in server.logged() if line.get("trace_id") in named} == {0, 1}
    return answers


def adapted(server: Server) -> str:
    response = call(server, "POST", "/v1/sessions", **as_json(LEARN))
    assert response.status_code == 201, response.text
    return str(response.json()["session"])


def labels(response: httpx2.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [one["label"] for one in response.json()["predictions"]]


def workers(server: Server) -> dict[int, int]:
    """The process id of every worker, as the log tells; the newest where one was replaced."""
    return {line["worker"]: line["process"] for line in server.logged() if line["event"] == "worker ready"}


def metrics(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(call(server, "GET", "/metrics").text)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for each in families for sample in each.samples}


def test_the_server_greets_once(server: Server) -> None:
    assert server.out.read_text().count("Innerloop serves") == 1
    assert sorted(workers(server)) == [0, 1]


def test_a_session_made_by_one_worker_is_answered_renamed_and_ended_by_all_at_once(server: Server) -> None:
    session = adapted(server)
    path = f"/v1/sessions/{session}"
    assert all(labels(answer) == ANSWERS for answer in everywhere(server, "POST", f"{path}/predict", **as_json(ASK)))
    assert call(server, "PATCH", path, json={"name": "renamed"}).status_code == 200
    assert {answer.json()["name"] for answer in everywhere(server, "GET", path)} == {"renamed"}
    assert call(server, "DELETE", path).status_code == 204
    assert {answer.status_code for answer in everywhere(server, "POST", f"{path}/predict", **as_json(ASK))} == {410}


def test_growth_through_all_workers_at_once_loses_nothing(server: Server) -> None:
    session = adapted(server)
    path = f"/v1/sessions/{session}/examples"

    def grow(caller: int) -> list[int]:
        added: list[int] = []
        for n in range(GROWTHS):
            example = (SHAPES[(caller + n) % 3], png(drawing(SHAPES[(caller + n) % 3], width=1 + n)))
            response = call(server, "POST", path, **as_json(Task([example])))
            assert response.status_code == 200, response.text
            added += response.json()["added"]
        return added

    with ThreadPoolExecutor(CALLERS) as threads:
        added = [number for numbers in threads.map(grow, range(CALLERS)) for number in numbers]
    first = range(1, len(LEARN.support) + 1)
    assert len(added) == len(set(added)) == CALLERS * GROWTHS
    for answer in everywhere(server, "GET", path):
        listed = answer.json()
        assert listed["revision"] == 1 + CALLERS * GROWTHS
        assert {example["id"] for example in listed["examples"]} == {*first, *added}


def test_metrics_are_those_of_all_workers_together(server: Server) -> None:
    route = frozenset({("method", "GET"), ("route", "/v1/models"), ("status", "200")})
    counted = ("innerloop_request_duration_seconds_count", route)
    before = metrics(server).get(counted, 0.0)
    everywhere(server, "GET", "/v1/models")
    assert [metrics(server)[counted] for _ in range(3)] == [before + CONNECTIONS] * 3
    assert metrics(server)["innerloop_ready_workers", frozenset()] == 2


@contextmanager
def load(server: Server) -> Iterator[list[str]]:
    """Have sessions made while the block lasts; gives those that were acknowledged."""
    acknowledged: list[str] = []
    over = threading.Event()

    def create() -> None:
        while not over.is_set():
            with suppress(httpx2.TransportError):  # the worker that was killed had it
                acknowledged.append(adapted(server))

    with ThreadPoolExecutor(2) as threads:
        callers = [threads.submit(create) for _ in range(2)]
        try:
            yield acknowledged
        finally:
            over.set()
        for each in callers:
            each.result()


def wait_for_another(server: Server, killed: int) -> None:
    """Return when a worker that is gone was replaced by one that serves."""
    give_up = time.monotonic() + READY_WITHIN
    while killed in workers(server).values():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_a_worker_that_is_killed_under_load_is_replaced_and_what_was_acknowledged_answers_until_all_end(
    tmp_path: Path, model_store: Path
) -> None:
    with running(tmp_path, model_store, workers=2, store="sqlite") as server:
        with load(server) as acknowledged:
            time.sleep(0.5)
            killed = workers(server)[1]
            os.kill(killed, signal.SIGKILL)
            time.sleep(0.2)
            for _ in range(CONNECTIONS):  # nobody waits for the one that is gone
                assert call(server, "GET", "/readyz").status_code == 200
        wait_for_another(server, killed)
        [ended] = [line for line in server.logged() if line["event"] == "worker ended"]
        assert (ended["worker"], ended["process"], ended["status"]) == (1, killed, -signal.SIGKILL)
        for session in acknowledged:
            assert labels(call(server, "POST", f"/v1/sessions/{session}/predict", **as_json(ASK))) == ANSWERS
        everywhere(server, "GET", "/v1/models")
        assert metrics(server)["innerloop_ready_workers", frozenset()] == 2

        processes = workers(server).values()
        assert server.stop() == 0
        assert server.errors() == []
        assert not any(Path(f"/proc/{process}").exists() for process in processes)
        with pytest.raises(httpx2.ConnectError):
            call(server, "GET", "/livez")
