"""The client alone: installed from this repository with its base dependencies, in an environment of its own."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
CONSTRAINTS = REPOSITORY / "constraints.txt"
PARTS = ("pyproject.toml", "README.md", "LICENSE", "innerloop", "service")

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program of the fresh environment, away from the repository."""
    room = tmp_path_factory.mktemp("client")
    source = _copy(room / "source")
    subprocess.run([sys.executable, "-m", "venv", room / "venv"], check=True)

    def run(program: str, *arguments: str | Path) -> Result:
        return subprocess.run([room / "venv/bin" / program, *arguments], cwd=room, capture_output=True, text=True, check=False)

    installed = run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", CONSTRAINTS, source)
    assert installed.returncode == 0, installed.stderr
    return run


def _copy(target: Path) -> Path:
    # setuptools writes build/ and *.egg-info beside what it builds.
    target.mkdir()
    for part in PARTS:
        path = REPOSITORY / part
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, target / part)
    return target


@pytest.mark.parametrize("module", ["torch", "numpy", "PIL", "pandas", "sklearn", "fastapi", "pydantic_settings"])
def test_the_server_needs_are_not_installed_with_the_client(run: Run, module: str) -> None:
    assert f"No module named '{module}'" in run("python", "-c", f"import {module}").stderr


def test_the_client_works(run: Run) -> None:
    result = run("python", "-c", "from innerloop import Client; Client('http://127.0.0.1:1').info()")
    assert "innerloop.errors.ServerUnreachableError: no answer from http://127.0.0.1:1" in result.stderr


def test_an_array_needs_no_numpy_to_be_sent(run: Run) -> None:
    program = "from array import array\nfrom innerloop.inputs import to_wire\nprint(to_wire(array('d', [0.5])))"
    assert run("python", "-c", program).stdout == "{'vector': [0.5]}\n"


def test_the_classifier_names_what_to_install(run: Run) -> None:
    assert "needs scikit-learn: pip install 'innerloop[sklearn]'" in run("python", "-c", "import innerloop.sklearn").stderr


def test_the_version_is_the_projects(run: Run) -> None:
    declared = next(line for line in (REPOSITORY / "pyproject.toml").read_text().splitlines() if line.startswith("version = "))
    assert run("innerloop", "--version").stdout.strip() == declared.split('"')[1]


def test_the_playground_is_in_the_package(run: Run) -> None:
    program = "import pathlib, service\nui = pathlib.Path(service.__file__).parent / 'ui'\nprint(*sorted(p.name for p in ui.rglob('*.*')))"
    assert run("python", "-c", program).stdout.split() == sorted(file.name for file in (REPOSITORY / "service" / "ui").rglob("*.*"))


def test_help_names_the_commands_of_both_halves(run: Run) -> None:
    shown = run("innerloop", "--help").stdout
    client = ("adapt", "predict", "classify", "grow", "remove", "examples", "sessions", "change", "fork", "export", "import", "delete")
    service = ("serve", "train", "evaluate", "models", "doctor")
    assert all(f" {name} " in shown for name in (*client, "info", "bench", *service))


@pytest.mark.parametrize("name", ["serve", "train", "evaluate", "models", "doctor"])
def test_a_service_command_names_what_to_install(run: Run, name: str) -> None:
    result = run("innerloop", name)
    extra = "train" if name in ("train", "evaluate") else "service"
    assert (result.returncode, result.stdout) == (1, "")
    assert f"pip install 'innerloop[{extra}]'" in result.stderr
