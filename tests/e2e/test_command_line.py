import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from innerloop.cli.main import app

Command = Callable[..., Result]


@pytest.fixture
def command(url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `innerloop` against the server, on a wide terminal."""
    monkeypatch.setenv("INNERLOOP_URL", url)
    monkeypatch.setenv("COLUMNS", "300")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refusal(result: Result) -> str:
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
    return result.stderr


def test_a_folder_is_adapted_to_asked_about_listed_and_deleted(command: Command, drawings: Path) -> None:
    session = answer(command("adapt", drawings, "--model", "omniglot", "--steps", 1, "--name", "from a folder", "--json"))
    assert session["shots"] == {"bar": 2, "corner": 2, "cross": 2}
    images = [drawings / "cross" / "1.png", drawings / "bar" / "2.png"]
    predicted = answer(command("predict", session["session"], *images, "--top-k", 2, "--json"))
    assert [(one["file"], one["label"], len(one["top"])) for one in predicted["predictions"]] == [
        (str(images[0]), "cross", 2),
        (str(images[1]), "bar", 2),
    ]
    assert predicted["weights_digest"] == session["weights_digest"]
    listed = {one["session"]: one["name"] for one in answer(command("sessions", "--json"))}
    assert listed[session["session"]] == "from a folder"
    assert command("delete", session["session"]).stdout == f"deleted {session['session']}\n"
    assert session["session"] not in [one["session"] for one in answer(command("sessions", "--json"))]
    assert "was deleted" in refusal(command("delete", session["session"]))


def test_tables_say_the_same(command: Command, drawings: Path) -> None:
    table = command("adapt", drawings, "--name", "seen").stdout
    session = next(line.split()[1] for line in table.splitlines() if line.startswith("session"))
    assert "bar (2), corner (2), cross (2)" in table
    assert "omniglot@1, scope head, 3 steps" in table
    row = next(line for line in command("predict", session, drawings / "corner" / "1.png").stdout.splitlines() if "1.png" in line)
    assert row.split()[3] == "corner"
    assert any(session in line and "seen" in line for line in command("sessions").stdout.splitlines())


def test_a_zip_is_adapted_to_as_its_folder(command: Command, drawings: Path, tmp_path: Path) -> None:
    packed = shutil.make_archive(str(tmp_path / "drawings"), "zip", drawings)
    digests = {answer(command("adapt", source, "--json"))["weights_digest"] for source in (drawings, packed)}
    assert len(digests) == 1


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_file_that_the_server_refuses_is_named(command: Command, drawings: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    folder = tmp_path / "drawings"
    shutil.copytree(drawings, folder)
    (folder / "corner" / "2.png").write_bytes(b"text")
    assert f"{folder}/corner/2.png: " in refusal(command("adapt", folder, *flags))
    session = answer(command("adapt", drawings, "--json"))["session"]
    images = (drawings / "bar" / "1.png", folder / "corner" / "2.png")
    assert f"{folder}/corner/2.png: " in refusal(command("predict", session, *images, *flags))


def test_an_option_that_the_server_refuses_is_one_line(command: Command, drawings: Path) -> None:
    assert "0 to 10 inner steps" in refusal(command("adapt", drawings, "--steps", 11))
    assert "no meta-model 'nothing'" in refusal(command("adapt", drawings, "--model", "nothing"))
    assert "no session 'ses_none'" in refusal(command("predict", "ses_none", drawings / "bar" / "1.png"))
