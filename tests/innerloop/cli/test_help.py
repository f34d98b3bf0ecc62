"""What a user reads before anything works."""

import shlex

import pytest

from innerloop.cli import main
from tests.innerloop.cli.conftest import Command


@pytest.mark.parametrize("name", ["serve", "doctor", "evaluate"])
def test_defaults_are_shown(command: Command, name: str) -> None:
    assert "(default: " in command(name, "--help").stdout  # in square brackets the terminal would take it for markup


@pytest.mark.parametrize("name", main._COMMANDS)
def test_every_command_of_the_client_can_answer_programs(command: Command, name: str) -> None:
    assert "--json" in command(name, "--help").stdout


@pytest.mark.parametrize("name", main._EXAMPLES)
def test_an_example_in_the_help_is_of_options_that_exist(command: Command, name: str) -> None:
    shown = command(name, "--help").stdout
    assert main._EXAMPLES[name] in shown
    words = shlex.split(main._EXAMPLES[name])
    assert words[1:3] == ["innerloop", name]
    assert [word for word in words if word.startswith("--") and word not in shown.partition("Options")[2]] == []
