import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx2
import pytest

from tests.api.forms import ANSWERS, BOTH, LEARN, as_json
from tests.e2e.server import INNERLOOP, STOPPED_WITHIN, environment, running

DRAIN_SECONDS = 1.5


def ready(url: str) -> int | None:
    """The status of /readyz on a new connection; None when nobody listens, or stopped before it took the connection."""
    try:
        return httpx2.get(f"{url}/readyz").status_code
    except (httpx2.ConnectError, httpx2.RemoteProtocolError, httpx2.ReadError):
        return None


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_told_to_stop_falls_unready_then_stops_listening_then_ends_what_it_began(
    tmp_path: Path, model_store: Path, workers: int
) -> None:
    body = json.dumps(as_json(LEARN)["json"]).encode()
    with (
        running(tmp_path, model_store, drain_seconds=DRAIN_SECONDS, workers=workers) as server,
        socket.create_connection(("127.0.0.1", server.port)) as slow,
    ):
        assert ready(server.url) == 200
        slow.sendall(
            f"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        slow.sendall(body[:100])
        time.sleep(0.2)

        server.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        seen = [ready(server.url)]
        while seen[-1] is not None:
            assert time.monotonic() < told + STOPPED_WITHIN
            if seen[-1] == 503 and 503 not in seen[:-1]:
                answer = httpx2.post(f"{server.url}/v1/predict", **as_json(BOTH)).json()
                assert [one["label"] for one in answer["predictions"]] == ANSWERS  # what still comes in is answered
            time.sleep(0.02)
            seen.append(ready(server.url))
        assert time.monotonic() - told >= DRAIN_SECONDS
        assert [status for n, status in enumerate(seen) if status not in seen[:n]] in ([200, 503, None], [503, None])

        slow.sendall(body[100:])
        answered = b"".join(iter(lambda: slow.recv(65536), b""))
        assert answered.startswith(b"HTTP/1.1 201 ")
        assert json.loads(answered.partition(b"\r\n\r\n")[2])["labels"] == ["bar", "cross", "ring"]
        assert server.process.wait(STOPPED_WITHIN) == 0
        assert server.errors() == []


def test_a_server_of_an_empty_store_starts_holds_its_data_directory_and_stops_at_ctrl_c(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    with running(tmp_path, store) as server:
        assert "no meta-model" in server.out.read_text()
        assert httpx2.get(f"{server.url}/v1/models").json() == {"models": []}

        command: list[str | Path] = [INNERLOOP, "serve", "--port", "0", "--model-store", store, "--data-dir", server.data_dir]
        second = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
        assert (second.returncode, second.stdout) == (1, "")
        [said] = second.stderr.splitlines()
        assert said.startswith(f"Error: {server.data_dir}: another server holds this data directory (process {server.process.pid})")

        assert ready(server.url) == 200
        assert server.stop(signal.SIGINT) == 0
        assert ready(server.url) is None
