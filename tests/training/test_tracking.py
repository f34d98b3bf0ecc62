import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import BadConfigError
from service.training.tracking import Nowhere, TensorBoard, tracker
from tests.training.runs import tiny_options

# In a program of its own: wandb starts threads and a service process. Whoever would connect to anything but this machine fails.
PROGRAM = """
import socket, sys
from pathlib import Path
import torch
from service.training.tracking import tracker
from tests.training.runs import tiny_options

reach = socket.socket.connect
def refuse(self, address):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"connected to {address}")
    return reach(self, address)
socket.socket.connect = refuse

first, last = map(int, sys.argv[2:])
kept = tracker("wandb", Path(sys.argv[1]), tiny_options())
for step in range(first, last):
    kept.numbers(step, {"validation/accuracy": step / 10})
kept.picture(last, "train/episode", torch.rand(1, 8, 8))
kept.close()
"""


def offline(run: Path, first: int, last: int) -> None:
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(run), str(first), str(last)],
        env=environment,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_weights_and_biases_keeps_a_run_offline_and_goes_on_with_it(tmp_path: Path) -> None:
    offline(tmp_path, 1, 4)
    name = (tmp_path / "wandb-id").read_text()
    offline(tmp_path, 4, 6)
    assert (tmp_path / "wandb-id").read_text() == name
    kept = sorted((tmp_path / "wandb").glob(f"offline-run-*-{name}"))
    assert len(kept) in (1, 2)  # two of the same second share a folder
    assert all((folder / f"run-{name}.wandb").stat().st_size > 0 for folder in kept)
    content = b"".join((folder / f"run-{name}.wandb").read_bytes() for folder in kept)
    assert b"validation/accuracy" in content
    assert json.dumps(tiny_options().name).encode() in content
    assert len(list((tmp_path / "wandb").glob("offline-run-*/files/media/images/train/*.png"))) == 2


def test_tensorboard_and_nowhere_are_chosen_by_name(tmp_path: Path) -> None:
    for kind, expected in (("tensorboard", TensorBoard), ("none", Nowhere)):
        chosen = tracker(kind, tmp_path, tiny_options())  # type: ignore[arg-type] # names from a list
        assert type(chosen) is expected
        chosen.close()


def test_a_missing_package_names_the_pip_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(BadConfigError, match=r"pip install 'innerloop\[wandb\]'"):
        tracker("wandb", tmp_path, tiny_options())
    assert list(tmp_path.iterdir()) == []
