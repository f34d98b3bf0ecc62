import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import DataDirectoryError
from service.runtime.data_dir import exclusive

HOLD = """
import sys
from pathlib import Path
from service.runtime.data_dir import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """Another process that holds the folder until its input ends."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a" / "b") as folder:
        assert folder.is_dir()


def test_a_second_holder_in_this_process_is_refused_with_its_number(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path),
        pytest.raises(DataDirectoryError, match=rf"another server holds .* \(process {os.getpid()}\)"),
        exclusive(tmp_path),
    ):
        pass


def test_a_second_holder_in_another_process_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        with pytest.raises(DataDirectoryError, match=rf"\(process {other.pid}\)"), exclusive(tmp_path):
            pass
        other.communicate()
    with exclusive(tmp_path):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        other.kill()
        other.communicate()
    with exclusive(tmp_path):
        assert (tmp_path / "server.lock").read_text() == str(os.getpid())


def test_it_is_let_go_when_the_server_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped"), exclusive(tmp_path):
        raise RuntimeError("stopped")
    with exclusive(tmp_path):
        pass


def test_different_folders_do_not_meet(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a"), exclusive(tmp_path / "b"):
        pass


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(DataDirectoryError, match=r"the data directory cannot be used \(File exists\)"), exclusive(tmp_path / "data"):
        pass


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "server.lock").mkdir()
    with pytest.raises(DataDirectoryError, match="the data directory cannot be used"), exclusive(tmp_path):
        pass
