"""Two servers, with data directories of their own, over one Redis."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.forms import ANSWERS, ASK, LEARN, as_json
from tests.e2e.server import Server, running
from tests.sessions.redis_process import RedisProcess, redis_process


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    with redis_process() as started:
        yield started


def create(server: Server) -> dict[str, Any]:
    return dict(httpx2.post(f"{server.url}/v1/sessions", **as_json(LEARN), timeout=30).json())


def ask(server: Server, session: str) -> httpx2.Response:
    return httpx2.post(f"{server.url}/v1/sessions/{session}/predict", **as_json(ASK), timeout=30)


@pytest.mark.slow
def test_what_one_replica_acknowledged_before_it_was_killed_the_other_answers_for(
    tmp_path: Path, model_store: Path, redis: RedisProcess
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with (
        running(tmp_path / "one", model_store, store=redis.url) as one,
        running(tmp_path / "two", model_store, store=redis.url) as two,
    ):
        first = create(one)
        assert [each["label"] for each in ask(two, first["session"]).json()["predictions"]] == ANSWERS
        assert httpx2.delete(f"{two.url}/v1/sessions/{first['session']}").status_code == 204
        assert ask(one, first["session"]).json()["code"] == "session_gone"

        acknowledged: list[dict[str, Any]] = []

        def load() -> None:
            while True:
                try:
                    acknowledged.append(create(one))
                except httpx2.TransportError:
                    return

        callers = [threading.Thread(target=load) for _ in range(4)]
        for caller in callers:
            caller.start()
        time.sleep(1)
        one.process.kill()
        for caller in callers:
            caller.join()
        assert len(acknowledged) > 4
        for made in acknowledged:
            answer = ask(two, made["session"]).json()
            assert (answer["weights_digest"], [each["label"] for each in answer["predictions"]]) == (made["weights_digest"], ANSWERS)
        assert two.errors() == []
