import json
from pathlib import Path

import pytest

from tests.innerloop.cli.conftest import Command
from tests.innerloop.server import FakeServer


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_weights_are_written_to_a_file_named_by_the_session(command: Command, here: Path, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    assert command("export", "ses_0", "--url", url).stdout == "wrote ses_0.safetensors\n"
    assert (here / "ses_0.safetensors").read_bytes() == b"safetensors of ses_0@1"
    command("export", "ses_0", "--format", "onnx", "--output", here / "model", "--url", url)
    assert (here / "model").read_bytes() == b"onnx of ses_0@1"
    told = json.loads(command("export", "ses_0", "--force", "--url", url, "--json").stdout)
    assert told == {"session": "ses_0", "file": "ses_0.safetensors", "bytes": 22}


def test_what_the_file_ends_in_chooses_the_format(command: Command, here: Path, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    for name, format in {"y.onnx": "onnx", "y.ONNX": "onnx", "y.safetensors": "safetensors", "y.bin": "safetensors"}.items():
        assert command("export", "ses_0", "--output", here / name, "--url", url).exit_code == 0
        assert (here / name).read_bytes() == f"{format} of ses_0@1".encode()


@pytest.mark.parametrize(("name", "format"), [("z.onnx", "safetensors"), ("z.safetensors", "onnx")])
def test_a_file_that_ends_otherwise_than_its_format_is_wrong_usage(
    command: Command, server: FakeServer, here: Path, url: str, name: str, format: str
) -> None:
    result = command("export", "ses_0", "--output", here / name, "--format", format, "--url", url)
    assert (result.exit_code, server.requests, (here / name).exists()) == (2, [], False)
    assert f"--format {format}" in " ".join(result.stderr.replace("│", " ").split())


def test_a_file_is_overwritten_only_by_force(command: Command, here: Path, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    (here / "ses_0.safetensors").write_bytes(b"mine")
    refused = command("export", "ses_0", "--url", url)
    assert (refused.exit_code, "--force" in refused.stderr) == (1, True)
    assert (here / "ses_0.safetensors").read_bytes() == b"mine"
    assert command("export", "ses_0", "--force", "--url", url).exit_code == 0


def test_an_exported_file_becomes_a_session_again(command: Command, server: FakeServer, here: Path, url: str) -> None:
    (here / "file").write_bytes(b"weights")
    result = command("import", here / "file", "--name", "back", "--url", url)
    assert result.exit_code == 0, result.output
    assert (server.requests[-1].content, server.query) == (b"weights", [("name", "back")])
    missing = command("import", here / "none", "--url", url)
    assert (missing.exit_code, "none" in missing.stderr) == (1, True)


def test_an_older_revision_is_exported_when_it_is_named(command: Command, here: Path, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    command("add", "ses_0", letters, "--url", url)
    command("export", "ses_0", "--revision", "1", "--url", url)
    assert (here / "ses_0.safetensors").read_bytes() == b"safetensors of ses_0@1"


def test_a_file_that_cannot_be_written_is_one_line_on_stderr(command: Command, here: Path, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    result = command("export", "ses_0", "--output", here / "none" / "file", "--url", url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: cannot write {here / 'none' / 'file'}: No such file or directory; name another --output\n"


def test_a_refused_export_writes_nothing(command: Command, here: Path, url: str) -> None:
    assert command("export", "ses_9", "--url", url).stderr == "Error: no session ses_9\n"
    assert list(here.iterdir()) == []


def test_a_format_that_is_none_is_status_2(command: Command, url: str) -> None:
    assert command("export", "ses_0", "--format", "pickle", "--url", url).exit_code == 2
