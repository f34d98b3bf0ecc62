import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.training.options import read_options
from service.training.search import open_study, tried
from service.training.search_space import read_search_space
from tests.cli.conftest import Command
from tests.training.searches import CONFIG, GROUPS, META_STEPS, written

LONG = CONFIG.replace("steps = 8", "steps = 120").replace("every = 2", "every = 10")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return written(tmp_path)


def test_it_leaves_the_best_configuration_a_table_and_a_figure(command: Command, config: Path) -> None:
    run = config.parent / "run"
    result = command("search", config, "--run", run, "--trials", "3")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line[:9] for line in lines[:3]] == ["trial   0", "trial   1", "trial   2"]
    assert f"{META_STEPS} meta-steps  optimiser.learning_rate = " in lines[0]
    assert lines[3] == f"{run / 'trials.md'} and {run / 'search.png'} show 3 trials"
    assert lines[4].startswith("best: trial ")
    assert lines[4].endswith(f"innerloop train {run / 'best.toml'}")
    assert read_options(run / "best.toml").name == "tiny"


def test_as_json_it_lists_the_trials_and_names_the_best(command: Command, config: Path) -> None:
    run = config.parent / "run"
    result = command("search", config, "--run", run, "--trials", "2", "--json")
    found = json.loads(result.stdout)
    assert [each["trial"] for each in found["trials"]] == [0, 1]
    assert found["config"] == str(run / "best.toml")
    best = max(found["trials"], key=lambda each: each["accuracy"])
    assert found["trials"][found["best"]]["accuracy"] == best["accuracy"]
    assert (best["meta_steps"], best["cut_short"]) == (META_STEPS, False)
    assert "optimiser.learning_rate" in best["values"]
    assert "trial   1" in result.stderr


def test_one_that_runs_out_of_time_says_how_to_go_on(command: Command, config: Path) -> None:
    run = config.parent / "run"
    result = command("search", config, "--run", run, "--timeout", "0")
    assert (result.exit_code, result.stdout) == (130, f"stopped; {run / 'study.db'} continues with --resume\n")
    assert command("search", config, "--run", run, "--trials", "1", "--resume").exit_code == 0


def test_a_refused_trial_is_one_line(command: Command, tmp_path: Path) -> None:
    result = command("search", written(tmp_path, GROUPS), "--run", tmp_path / "run", "--trials", "4")
    assert result.exit_code == 0, result.output
    refused = [line for line in result.stdout.splitlines() if "refused: " in line]
    assert refused
    assert all("encoder.groups = 3" in line and line.startswith("trial ") for line in refused)
    assert "show 4 trials" in result.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("optimiser.learning_rate", "optimiser.lr", "no key 'lr'; expected among ['kind', 'learning_rate'"),
        ("[search]", "[searched]", "expected a table [search]"),
        ("[2, 5]", "[2, 50]", "asks for 50 train classes"),
    ],
)
def test_what_cannot_be_searched_is_one_line_and_status_1(old: str, new: str, said: str, command: Command, tmp_path: Path) -> None:
    config = written(tmp_path, CONFIG.replace(old, new))
    result = command("search", config, "--run", tmp_path / "run")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert said in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_is_killed_goes_on_without_losing_or_repeating_a_finished_trial(number: signal.Signals, tmp_path: Path) -> None:
    config, run = written(tmp_path, LONG), tmp_path / "run"
    command = [str(Path(sys.executable).with_name("innerloop")), "search", str(config), "--run", str(run), "--trials", "4"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"}, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("trial   0")
        until = time.monotonic() + 60
        while len(list(run.glob("trials/*/checkpoint.pt"))) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(number)
    space = read_search_space(config)
    before = tried(open_study(space, run, resume=True), space)
    done = subprocess.run([*command, "--resume"], text=True, capture_output=True, check=True)
    after = tried(open_study(space, run, resume=True), space)
    assert len(after) == 4
    assert after[: len(before)] == before
    assert len({str(each.values) for each in after}) == 4
    assert "best: trial" in done.stdout
