import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from innerloop.cli.main import app

Command = Callable[..., Result]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `innerloop` with the arguments given, on a wide terminal."""
    monkeypatch.delenv("INNERLOOP_URL", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [os.fspath(argument) for argument in arguments])


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """Class folders: two images of alpha, one of beta."""
    for name in ("alpha/1.png", "alpha/2.png", "beta/1.png"):
        file = tmp_path / "letters" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return tmp_path / "letters"
