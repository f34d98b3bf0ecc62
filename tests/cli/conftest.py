import signal
from collections.abc import Callable, Iterator
from os import fspath
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from innerloop.cli.main import app
from service.learner.encoders.mlp import Mlp
from tests.tiny import SHAPES, drawing, png, tiny_model, write_tiny

Command = Callable[..., Result]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Runs `innerloop` in this process with the arguments given, on a wide terminal, and leaves logs and signals as they were."""
    for name in ("FORCE_COLOR", "INNERLOOP_DATA_ROOT", "INNERLOOP_MODEL_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "300")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield lambda *arguments: CliRunner().invoke(app, [fspath(argument) for argument in arguments])
    structlog.reset_defaults()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def model_store(tmp_path: Path) -> Path:
    """A meta-model of images, one of vectors, and a damaged one."""
    store = tmp_path / "store"
    write_tiny(store, "tiny")
    write_tiny(store, "vectors", tiny_model(Mlp(inputs=3)))
    (write_tiny(store, "damaged") / "weights.safetensors").write_bytes(b"not what the manifest says")
    return store


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    """Five class folders of four drawings each."""
    for shape in SHAPES:
        for n in range(4):
            image = tmp_path / "drawings" / shape / f"{n}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(png(drawing(shape, width=2 + n, shift=n - 2)))
    return tmp_path / "drawings"
