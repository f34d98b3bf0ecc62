import json
import shutil
from pathlib import Path

from tests.innerloop.cli.conftest import Command
from tests.innerloop.server import FakeServer, problem


def test_added_examples_make_the_next_revision(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    result = command("grow", "ses_0", letters, "--url", url)
    assert result.exit_code == 0, result.output
    assert ["revision", "2"] in [line.split() for line in result.stdout.splitlines()]
    assert server.requests[-1].url.path == "/v1/sessions/ses_0/examples"
    listed = json.loads(command("examples", "ses_0", "--url", url, "--json").stdout)
    assert [each["id"] for each in listed] == [1, 2, 3, 4, 5, 6]
    assert listed[0]["label"] == "alpha"


def test_removed_examples_are_gone(command: Command, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    assert command("remove", "ses_0", "3", "1", "--url", url).exit_code == 0
    assert "alpha" in command("examples", "ses_0", "--url", url).stdout
    assert [each["id"] for each in json.loads(command("examples", "ses_0", "--url", url, "--json").stdout)] == [2]
    assert command("remove", "ses_0", "77", "--url", url).exit_code == 1


def test_the_ids_of_added_examples_are_told(command: Command, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    assert ["added", "examples", "4", "to", "6"] in [
        line.split() for line in command("grow", "ses_0", letters, "--url", url).stdout.splitlines()
    ]
    shutil.rmtree(letters / "alpha")
    assert ["added", "example", "7"] in [line.split() for line in command("grow", "ses_0", letters, "--url", url).stdout.splitlines()]


def test_json_is_the_servers_answer(command: Command, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    assert json.loads(command("grow", "ses_0", letters, "--url", url, "--json").stdout)["added"] == [4, 5, 6]
    assert json.loads(command("remove", "ses_0", "1", "--url", url, "--json").stdout)["revision"] == 3


def test_a_refused_added_example_is_named_by_its_file(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    server.refusals = {("POST", "/v1/sessions/ses_0/examples"): problem("broken_image", detail="it is damaged", field="support[1].image")}
    result = command("grow", "ses_0", letters, "--url", url)
    assert (result.exit_code, result.stderr) == (1, f"Error: {letters}/alpha/2.png: it is damaged\n")
    assert command("examples", "ses_0", "--url", url).exit_code == 0


def test_a_session_without_its_support_set_is_one_line_on_stderr(command: Command, url: str, letters: Path) -> None:
    command("adapt", letters, "--no-keep-support", "--url", url)
    result = command("grow", "ses_0", letters, "--url", url)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: the support set is not kept\n")
