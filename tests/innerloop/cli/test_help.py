"""What a user reads before anything works."""

import shlex
from typing import Any

import pytest
import typer
from rich.text import Text

from innerloop.cli import main
from innerloop.cli.service_half import service_commands
from tests.innerloop.cli.conftest import Command


@pytest.mark.parametrize("name", ["serve", "doctor", "evaluate"])
def test_defaults_are_shown(command: Command, name: str) -> None:
    assert "(default: " in command(name, "--help").stdout  # in square brackets the terminal would take it for markup


@pytest.mark.parametrize("name", main._COMMANDS)
def test_every_command_of_the_client_can_answer_programs(command: Command, name: str) -> None:
    assert "--json" in command(name, "--help").stdout


@pytest.mark.parametrize("name", [*main._COMMANDS, *service_commands()])
def test_no_word_in_square_brackets_is_taken_for_markup(name: str) -> None:
    command: Any = typer.main.get_command(main.app)
    context = command.commands[name].make_context(name, [], resilient_parsing=True)
    texts = [context.command.help, *(getattr(parameter, "help", None) for parameter in context.command.params)]
    assert [text for text in texts if text and Text.from_markup(text).plain != text.replace("\\[", "[")] == []


def test_the_table_of_a_search_is_named_in_its_help(command: Command) -> None:
    assert command("search", "--help").stdout.count("[search]") == 2


@pytest.mark.parametrize("name", main._EXAMPLES)
def test_an_example_in_the_help_is_of_options_that_exist(command: Command, name: str) -> None:
    shown = command(name, "--help").stdout
    assert main._EXAMPLES[name] in shown
    words = shlex.split(main._EXAMPLES[name])
    assert words[1:3] == ["innerloop", name]
    assert [word for word in words if word.startswith("--") and word not in shown.partition("Options")[2]] == []
