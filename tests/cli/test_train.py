import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from service.registry.read import read
from service.training.checkpoint import FILENAME, load_checkpoint
from service.training.options import read_options
from tests.cli.conftest import Command
from tests.training.pictures import scenes

META_STEPS = 400

CONFIG = f"""
name = "tiny"
threads = 1

[data]
source = "glyphs"
classes = 10
drawings = 4
rotations = false

[preprocessing]
size = 16

[encoder]
kind = "conv4"
width = 4
size = 16

[[stages]]
steps = {META_STEPS}
way = [3, 3]
queries = 1

[recipe]
steps_default = 1
steps_max = 2

[validation]
every = 20
episodes = 4
way = 3
queries = 1

[final]
ways = [3]
shots = [1]
episodes = 4
queries = 1
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def start(config: Path) -> Start:
    """Starts `innerloop train` on the tiny configuration, in a process of its own, in the configuration's folder."""
    command = [str(Path(sys.executable).with_name("innerloop")), "train", str(config)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}

    def run(*options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, *options], cwd=config.parent, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return run


def interrupted(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send a signal once the first validation is told, and give what the process said."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("step "):
            process.send_signal(number)
            break
    rest, errors = process.communicate(timeout=60)
    assert errors == ""
    return "".join([*said, rest])


@pytest.mark.slow
def test_an_interrupted_run_leaves_a_checkpoint_that_resume_finishes_from(start: Start, config: Path) -> None:
    run, options = config.parent / "runs" / "tiny", read_options(config)
    process = start()
    said = interrupted(process, signal.SIGINT)
    assert process.returncode == 130
    assert f"runs/tiny/{FILENAME} continues with --resume" in said
    assert 20 <= load_checkpoint(run, options).step < META_STEPS
    assert not (config.parent / "model_store").exists()

    process = start("--resume", "--json")
    answer, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert load_checkpoint(run, options).step == META_STEPS
    stored = read(config.parent / "model_store" / "tiny" / "1")
    assert stored.manifest.training.meta_steps == META_STEPS
    assert "written to model_store/tiny/1" in said
    assert "# tiny@1" in said
    told = json.loads(answer)
    assert (told["name"], told["version"], told["folder"]) == ("tiny", 1, "model_store/tiny/1")
    assert [row["accuracy"] for row in told["evaluation"]] == [row.accuracy for row in stored.manifest.evaluation]


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_leaves_a_checkpoint_too(start: Start, config: Path) -> None:
    process = start("--run", "elsewhere")
    interrupted(process, signal.SIGTERM)
    assert process.returncode == 130
    assert load_checkpoint(config.parent / "elsewhere", read_options(config)).step < META_STEPS


@pytest.fixture
def start_two(config: Path) -> Start:
    """Starts `innerloop train` in two processes by torchrun, which torch.distributed.run is."""
    config.write_text(CONFIG.replace("queries = 1\n\n[recipe]", "queries = 1\nepisodes = 2\n\n[recipe]"), encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python", "--"]
    command = [*torchrun, str(Path(sys.executable).with_name("innerloop")), "train", str(config)]

    def run(*options: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*command, *options], cwd=config.parent, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return run


def of_rank(rank: int, torchrun: subprocess.Popen[str]) -> int:
    """Find the process that torchrun started as one of the ranks."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
            if int(parent) == torchrun.pid and f"RANK={rank}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                return int(entry.name)
    raise AssertionError(f"expected a process of rank {rank}")


def until_validated(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert any(line.startswith("step ") for line in process.stdout), process.stderr.read() if process.stderr else ""


@pytest.mark.slow
def test_a_run_of_two_processes_survives_ctrl_c_and_a_killed_process(start_two: Start, config: Path) -> None:
    run, options = config.parent / "runs" / "tiny", read_options(config)
    process = start_two()
    until_validated(process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert said.count("continues with --resume") == 1
    stopped = load_checkpoint(run, options).step
    assert 20 <= stopped < META_STEPS

    process = start_two("--resume")
    until_validated(process)
    os.kill(of_rank(1, process), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Error: expected every process of the run to answer" in errors
    assert stopped <= load_checkpoint(run, options).step < META_STEPS

    process = start_two("--resume")
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert said.count("written to model_store/tiny/1") == 1
    assert read(config.parent / "model_store" / "tiny" / "1").manifest.training.meta_steps == META_STEPS


def assert_one_line(result: Result, said: str) -> None:
    assert (result.exit_code, type(result.exception)) == (1, SystemExit), result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("queries = 1\n\n[recipe]", "querys = 1\n\n[recipe]", "stages.0: no key 'querys'"),
        ("width = 4", 'width = 4\nnorm = "layer"', "'batch', 'group', 'task', 'none'"),
        ("steps_default = 1", 'steps_default = 1\nscope = "all"', "use norm = 'group' or 'task' in [encoder]"),
        ('name = "tiny"', "name = ", "not TOML"),
        ('"glyphs"\nclasses = 10\ndrawings = 4', '"folder"\npath = "nowhere"', "nowhere: expected a folder or a zip"),
        ('"glyphs"\nclasses = 10\ndrawings = 4', '"omniglot"', "--data-root"),
        ("way = [3, 3]", "way = [3, 30]", "[[stages]] 1 of the configuration asks for 30 train classes, got 10"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_status_1(old: str, new: str, said: str, config: Path, command: Command) -> None:
    assert CONFIG.count(old) == 1
    config.write_text(CONFIG.replace(old, new), encoding="utf-8")
    assert_one_line(command("train", config, "--run", config.parent / "run", "--model-store", config.parent / "store"), said)


def test_the_help_keeps_torchrun_from_reading_options_as_its_own(command: Command) -> None:
    assert "--no-python -- innerloop train CONFIG" in command("train", "--help").output


def test_nothing_to_resume_from_is_one_line_and_status_1(config: Path, command: Command) -> None:
    run = config.parent / "run"
    assert_one_line(command("train", config, "--run", run, "--resume"), f"{run}/{FILENAME}: expected a checkpoint to resume from")


@pytest.mark.slow
def test_images_alone_are_trained_on_and_the_configuration_is_left_to_be_edited(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/training.md says of your own images."""
    monkeypatch.chdir(tmp_path)
    root = scenes(tmp_path / "pictures", classes=7)
    for index in range(1, 8):
        (root / "kind 3" / f"{index}.png").unlink()
    (root / "kind 4" / "broken.png").write_bytes(b"no image")
    result = command("train", "--images", "pictures", "--size", "28", "--steps", "4")
    assert result.exit_code == 0, result.output
    assert "warning: kind 4/broken.png: left out, since it cannot be read: kind 4/broken.png: expected an image" in result.output
    assert "warning: left out, since they have fewer than 8 images that can be read: kind 3 (1)" in result.output
    training = read(tmp_path / "model_store" / "pictures" / "1").manifest.training
    names = [*training.train_classes, *training.validation_classes, *training.test_classes]
    assert sorted(names) == [f"kind {k}" for k in (0, 1, 2, 4, 5, 6)]
    assert (training.pretraining_steps, training.meta_steps) == (3, 1)

    config = tmp_path / "runs" / "pictures" / "config.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("seed = 1", "seed = 2"), encoding="utf-8")
    result = command("train", config, "--run", "runs/again")
    assert result.exit_code == 0, result.output
    again = read(tmp_path / "model_store" / "pictures" / "2").manifest.training
    assert (again.config["seed"], again.train_classes) == (2, training.train_classes)
    assert_one_line(command("train", "--images", "pictures", "--size", "28", "--steps", "4"), "name another --run")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected either a configuration or --images FOLDER, got neither"),
        (("tiny.toml", "--images", "pictures"), "got both"),
        (("tiny.toml", "--grey"), "go with --images"),
        (("--images", "absent"), "absent: expected a folder or a zip"),
    ],
)
def test_images_and_a_configuration_exclude_each_other(
    arguments: tuple[str, ...], said: str, config: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    assert_one_line(command("train", *arguments), said)
