import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from service.runtime.data_dir import exclusive
from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_store: Path) -> None:
    """Settings with which the server would start."""
    for name, value in {"DATA_DIR": tmp_path / "data", "MODEL_STORE": model_store, "DEVICE": "cpu", "TORCH_THREADS": 1, "PORT": 0}.items():
        monkeypatch.setenv(f"INNERLOOP_{name}", str(value))

    async def serving(_: uvicorn.Server) -> None:
        pytest.fail("the server has started")  # and would not end by itself

    monkeypatch.setattr(uvicorn.Server, "main_loop", serving)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def refusal(command: Command, *options: object) -> str:
    """The one line that says why the server did not start, below what it logged until then."""
    result = command("serve", *map(str, options))
    *logged, said = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert all(line.startswith("{") for line in logged), result.stderr
    assert said.startswith("Error: ")
    return said


def test_a_device_that_is_not_there_is_refused(command: Command) -> None:
    assert "cuda:99" in refusal(command, "--device", "cuda:99")


def test_a_device_that_is_none_is_refused(command: Command) -> None:
    assert "device: " in refusal(command, "--device", "tpu")


def test_every_setting_that_cannot_be_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNERLOOP_QUEUE_ITEMS", "0")
    said = refusal(command, "--port", 65536)
    assert "port: " in said
    assert "queue_items: " in said


def test_a_model_store_that_is_not_there_is_refused(command: Command, tmp_path: Path) -> None:
    said = refusal(command, "--model-store", tmp_path / "nothing")
    assert said == f"Error: {tmp_path / 'nothing'}: expected a model store, found no folder there; name it with --model-store"
    assert not (tmp_path / "data").exists()


def test_a_data_directory_that_another_server_holds_is_refused(command: Command, tmp_path: Path) -> None:
    with exclusive(tmp_path / "data"):
        assert "another server holds this data directory" in refusal(command)


def test_a_data_directory_that_cannot_be_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file" / "data") in refusal(command, "--data-dir", tmp_path / "file" / "data")


def test_a_port_that_is_taken_is_refused(command: Command, taken_port: int) -> None:
    said = refusal(command, "--port", taken_port)
    assert said == f"Error: cannot listen on 127.0.0.1 port {taken_port} (address already in use); give another with --host or --port"


def test_an_address_of_another_machine_is_refused(command: Command) -> None:
    assert "cannot listen on 192.0.2.1 port 0" in refusal(command, "--host", "192.0.2.1")


def test_a_session_store_that_is_none_is_refused_in_one_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sessions.sqlite3").write_text("long enough to be mistaken for a database, but not one" * 10)
    assert f"expected a session store at {tmp_path / 'data' / 'sessions.sqlite3'}, it is not an SQLite file" in refusal(command)


def test_a_refused_start_leaves_the_data_directory_free(command: Command, tmp_path: Path, taken_port: int) -> None:
    refusal(command, "--port", taken_port)
    with exclusive(tmp_path / "data"):
        pass


def test_the_help_names_every_option_and_where_the_rest_is_set(command: Command) -> None:
    said = command("serve", "--help").stdout
    assert all(option in said for option in ("--host", "--port", "--data-dir", "--model-store", "--device", "--workers", "INNERLOOP_"))
