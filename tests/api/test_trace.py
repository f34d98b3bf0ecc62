import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.api.conftest import LogEntry, served_by
from tests.api.forms import LEARN, as_json


def test_a_request_keeps_the_id_it_came_with(client: TestClient) -> None:
    response = client.get("/v1/models/nothing", headers={"X-Request-ID": "my-request.1"})
    assert response.headers["X-Request-ID"] == response.json()["trace_id"] == "my-request.1"


def test_a_request_without_an_id_is_given_one_of_its_own(client: TestClient) -> None:
    names = {client.get("/v1/models").headers["X-Request-ID"] for _ in range(3)}
    assert len(names) == 3
    assert all(re.fullmatch(r"req_[0-9a-f]{16}", name) for name in names)


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, 'a"quote', "line\tbreak"])
def test_an_id_that_could_not_stand_in_a_log_is_replaced(client: TestClient, given: str) -> None:
    assert client.get("/v1/models", headers={"X-Request-ID": given}).headers["X-Request-ID"].startswith("req_")


def test_every_answer_names_its_request(client: TestClient) -> None:
    made = client.post("/v1/sessions", **as_json(LEARN))
    others = [client.get(made.headers["Location"]), client.delete(made.headers["Location"]), client.get(made.headers["Location"])]
    assert [response.status_code for response in (made, *others)] == [201, 200, 204, 410]
    assert all(response.headers["X-Request-ID"] for response in (made, *others))


def test_a_request_is_one_line_of_the_log(client: TestClient, log: list[LogEntry]) -> None:
    client.get("/v1/models/nothing", headers={"X-Request-ID": "mine"})
    [line] = [entry for entry in log if entry["event"] == "request"]
    assert (line["method"], line["path"], line["status"], line["trace_id"]) == ("GET", "/v1/models/nothing", 404, "mine")
    assert line["milliseconds"] > 0


def test_a_request_that_broke_is_logged_as_500(client: TestClient, app: FastAPI, log: list[LogEntry]) -> None:
    with served_by(app, None):
        client.get("/v1/models")
    assert [entry["status"] for entry in log if entry["event"] == "request"] == [500]


def test_probes_fill_no_log(client: TestClient, log: list[LogEntry]) -> None:
    client.get("/livez")
    client.get("/readyz")
    assert log == []
