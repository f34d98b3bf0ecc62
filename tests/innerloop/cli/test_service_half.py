import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.innerloop.cli.conftest import Command

COMMANDS = """
[innerloop.commands]
serve = command_of_a_test:greet
train = module_that_needs_torch:train
models = module_that_needs_torch:models
late = command_of_a_test:late
evaluate = service.no_such_room:evaluate
"""

GREET = """
def greet(name: str, times: int = 1) -> None:
    \"""Greet, in place of serving.\"""
    print(f"hello {name}" * times)

def late() -> None:
    import torch_that_is_not_installed
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution named innerloop, with commands of our own, ahead of the real one."""
    information = tmp_path / "site" / "innerloop-9.8.7.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: innerloop\nVersion: 9.8.7\n")
    (information / "entry_points.txt").write_text(COMMANDS)
    (tmp_path / "site" / "command_of_a_test.py").write_text(GREET)
    (tmp_path / "site" / "module_that_needs_torch.py").write_text("import torch_that_is_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    sys.modules.pop("command_of_a_test", None)


def test_help_names_both_halves_and_imports_neither(command: Command) -> None:
    result = command("--help")
    assert result.exit_code == 0
    shown = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("│ ")]
    assert shown[-19:] == [
        *(
            "adapt",
            "predict",
            "classify",
            "grow",
            "remove",
            "examples",
            "sessions",
            "change",
            "fork",
            "export",
            "import",
            "delete",
            "info",
            "bench",
        ),
        *("evaluate", "late", "models", "serve", "train"),
    ]
    assert "Serve the meta-models of a model store over HTTP." in result.stdout
    assert "command_of_a_test" not in sys.modules


def test_a_service_command_takes_its_own_arguments(command: Command) -> None:
    result = command("serve", "you", "--times", "2")
    assert (result.exit_code, result.stdout) == (0, "hello youhello you\n")


def test_the_help_of_a_service_command_is_its_own(command: Command) -> None:
    result = command("serve", "--help")
    assert "innerloop serve" in result.stdout
    assert "Greet, in place of serving." in result.stdout
    assert "--times" in result.stdout


def test_wrong_usage_of_a_service_command_is_status_2(command: Command) -> None:
    assert command("serve").exit_code == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train", "innerloop train needs the trainer: pip install 'innerloop[train]'"),
        ("models", "innerloop models needs the server: pip install 'innerloop[service]'"),
    ],
)
def test_a_missing_extra_names_the_pip_command(command: Command, name: str, message: str) -> None:
    for arguments in ([name], [name, "--help"], [name, "config.toml"]):
        result = command(*arguments)
        assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {message}\n")


def test_an_extra_missed_only_when_running_is_named_too(command: Command) -> None:
    assert command("late").stderr == "Error: innerloop late needs the server: pip install 'innerloop[service]'\n"


def test_a_missing_module_of_ours_is_a_bug_and_no_missing_extra(command: Command) -> None:
    result = command("evaluate")
    assert isinstance(result.exception, ModuleNotFoundError)
    assert result.exception.name == "service.no_such_room"


def test_the_version_is_that_of_the_installed_package(command: Command) -> None:
    result = command("--version")
    assert (result.exit_code, result.stdout) == (0, "9.8.7\n")
