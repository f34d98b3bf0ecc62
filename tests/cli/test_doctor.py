import builtins
import json
import shutil
import socket
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from service.cli import checks
from service.config import Settings
from service.runtime.data_dir import exclusive
from tests.cli.conftest import Command
from tests.innerloop.server import INFO
from tests.sessions.redis_process import RedisProcess


@pytest.fixture(autouse=True)
def environment(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_store: Path) -> None:  # noqa: ARG001 - clears them
    """Settings with which the server would start; `damaged` is gone from the store."""
    shutil.rmtree(model_store / "damaged")
    for name, value in {"DATA_DIR": tmp_path / "data", "MODEL_STORE": model_store, "DEVICE": "cpu", "PORT": 0}.items():
        monkeypatch.setenv(f"INNERLOOP_{name}", str(value))


def states(command: Command, *options: object, status: int = 0) -> dict[str, tuple[str, str]]:
    """State and detail of every finding; of several of one name, the worst."""
    result = command("doctor", "--json", *map(str, options))
    assert result.exit_code == status, result.output
    found = json.loads(result.stdout)
    order = ("ok", "note", "broken")
    return {one["what"]: (one["state"], one["detail"]) for one in sorted(found, key=lambda one: order.index(one["state"]))}


def test_a_machine_that_can_serve_is_told_so_and_nothing_is_made(command: Command, tmp_path: Path) -> None:
    found = states(command)
    assert {state for what, (state, _) in found.items() if what not in ("cuda", "model store")} == {"ok"}
    assert "will be made" in found["data directory"][1]
    assert not (tmp_path / "data").exists()


def test_a_table_says_the_same(command: Command) -> None:
    shown = command("doctor").stdout
    assert all(what in shown for what in states(command))
    assert "tiny@1 is verified" in shown


def test_a_damaged_meta_model_is_broken_and_the_others_are_verified(command: Command, model_store: Path) -> None:
    (model_store / "tiny" / "1" / "weights.safetensors").write_bytes(b"not what the manifest says")
    state, detail = states(command, status=1)["model store"]
    assert state == "broken"
    assert detail.startswith("tiny@1 would be refused: ")


def test_a_store_without_meta_models_is_broken(command: Command, tmp_path: Path) -> None:
    assert states(command, "--model-store", tmp_path / "nothing", status=1)["model store"][0] == "broken"
    (tmp_path / "empty").mkdir()
    assert "train one" in states(command, "--model-store", tmp_path / "empty", status=1)["model store"][1]


def test_no_default_among_several_meta_models_is_worth_a_note(command: Command) -> None:
    assert states(command)["model store"] == (
        "note",
        "no meta-model 'omniglot': requests must name theirs, or set default_model",
    )


def test_a_device_that_is_not_there_is_broken(command: Command) -> None:
    found = states(command, "--device", "cuda:99", status=1)
    assert (found["device"][0], "cuda:99" in found["device"][1], found["torch"][0]) == ("broken", True, "ok")


def test_without_torch_the_rest_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_torch(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest, **more)

    for name in [name for name in sys.modules if name.startswith(("service.registry.read", "service.runtime.device"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_torch)
    found = {one.what: one for one in checks.findings(Settings())}
    assert found["torch"].state == "broken"
    assert "pip install 'innerloop[service]'" in found["torch"].detail
    assert (found["model store"].state, found["port"].state) == ("broken", "ok")


def test_a_data_directory_that_is_held_is_a_note_and_its_sessions_are_left_alone(command: Command, tmp_path: Path) -> None:
    with exclusive(tmp_path / "data"):
        (tmp_path / "data" / "sessions.sqlite3").write_bytes(b"")
        found = states(command)
    assert (found["data directory"][0], found["session store"][0]) == ("note", "note")


def test_a_data_directory_that_cannot_be_is_broken(command: Command, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert states(command, status=1)["data directory"][0] == "broken"
    assert states(command, "--data-dir", tmp_path / "data" / "below", status=1)["data directory"][0] == "broken"


def test_a_data_directory_where_nothing_can_be_made_is_broken_and_so_is_what_is_kept_in_it(command: Command) -> None:
    found = states(command, "--data-dir", "/proc/foo", status=1)
    assert found["data directory"][0] == found["session store"][0] == "broken"
    assert found["data directory"][1].startswith("/proc/foo cannot be made: /proc cannot be written to (")
    assert found["port"][0] == "ok"


def test_looking_leaves_nothing_behind(command: Command, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    states(command)
    assert set(tmp_path.iterdir()) == before


def test_a_store_that_cannot_be_is_one_failed_check_in_words(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, variable in ((("--store", "mysql://user:secret@host"), "sqlite"), ((), "postgres")):
        monkeypatch.setenv("INNERLOOP_STORE", variable)
        found = states(command, *options, status=1)
        assert found["session store"] == (
            "broken",
            "store: expected sqlite, memory or a Redis URL: redis://…, rediss://… or unix://…; name another with --store",
        )
        assert (found["data directory"][0], found["port"][0]) == ("ok", "ok")


def test_a_store_that_is_away_is_told_once(command: Command) -> None:
    result = command("doctor", "--store", "redis://127.0.0.1:1")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "Redis at 127.0.0.1:1" in result.stdout


def test_a_session_file_is_opened_and_one_that_is_none_is_broken(command: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sessions.sqlite3").write_bytes(b"")
    assert states(command)["session store"][1].endswith("answers")
    (tmp_path / "data" / "sessions.sqlite3").write_bytes(b"no database" * 1000)
    assert states(command, status=1)["session store"][0] == "broken"


def test_a_memory_store_is_worth_a_note(command: Command) -> None:
    assert states(command, "--store", "memory")["session store"] == ("note", "memory: sessions end with the server")


def test_redis_is_asked(command: Command, tmp_path: Path) -> None:
    redis = RedisProcess(tmp_path)
    redis.start()
    try:
        assert states(command, "--store", redis.url)["session store"] == ("ok", "redis, answers")
    finally:
        redis.stop()
    assert states(command, "--store", redis.url, status=1)["session store"][0] == "broken"


def test_a_redis_that_may_lose_sessions_is_worth_a_note(command: Command, tmp_path: Path) -> None:
    redis = RedisProcess(tmp_path, appendfsync="everysec")
    redis.start()
    try:
        state, detail = states(command, "--store", redis.url)["session store"]
    finally:
        redis.stop()
    assert (state, detail) == ("note", "appendfsync is everysec, expected always: the last second of sessions is lost when Redis is killed")


def test_a_port_that_somebody_has_is_broken(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        listener.settimeout(0)
        listener.listen(0)
        state, detail = states(command, "--port", taken, status=1)["port"]
    assert (state, str(taken) in detail) == ("broken", True)


@pytest.fixture
def innerloop_port() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = INFO.model_dump_json().encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_server_of_ours_at_the_port_is_a_note(command: Command, innerloop_port: int) -> None:
    state, detail = states(command, "--port", innerloop_port)["port"]
    assert (state, detail) == ("note", f"an Innerloop server 0.1.0 answers at 127.0.0.1:{innerloop_port} already")


def test_a_setting_that_cannot_be_is_one_line(command: Command) -> None:
    result = command("doctor", "--device", "tpu")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: device: expected auto, cpu or cuda:N\n"
    assert command("doctor", "--device", "tpu", "--store", "mysql").stderr.startswith("Error: device: ")
