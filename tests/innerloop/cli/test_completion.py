import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.innerloop.cli.conftest import Command

INNERLOOP = Path(sys.executable).with_name("innerloop")


def offered(line: str, url: str) -> list[str]:
    """What bash is offered for the last word of the line."""
    words = line.split(" ")
    asked = {"_INNERLOOP_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "INNERLOOP_URL": url}
    done = subprocess.run([INNERLOOP], env=os.environ | asked, capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_commands_of_both_halves_are_offered(url: str) -> None:
    assert set(offered("innerloop s", url)) == {"search", "serve", "sessions"}
    assert offered("innerloop serve --po", url) == ["--port"]


def test_sessions_and_meta_models_are_those_of_the_server(command: Command, url: str, letters: Path) -> None:
    for _ in range(3):
        command("adapt", letters, "--url", url)
    assert offered("innerloop predict ses", url) == ["ses_0", "ses_1", "ses_2"]
    assert offered("innerloop delete ses_1", url) == ["ses_1"]
    assert offered("innerloop adapt --model omni", url) == ["omniglot@1"]


def test_the_server_named_on_the_line_is_the_one_asked(command: Command, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    assert offered(f"innerloop predict --url {url} ses", "http://127.0.0.1:1") == ["ses_0"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense"])
def test_nothing_is_offered_without_a_server(url: str) -> None:
    assert offered("innerloop predict ses", url) == []
