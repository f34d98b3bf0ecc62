import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_every_model_is_listed_and_a_damaged_one_with_the_reason(command: Command, model_store: Path) -> None:
    result = command("models", "--model-store", model_store)
    assert result.exit_code == 0, result.output
    rows = {row.split()[1]: row for row in result.stdout.splitlines() if "@" in row}
    assert set(rows) == {"tiny@1", "vectors@1", "damaged@1"}
    assert "image" in rows["tiny@1"]
    assert "scope head, 3 steps (up to 10)" in rows["tiny@1"]
    assert "5-way 1-shot 50.00% ± 10.00%" in rows["tiny@1"]
    assert "vector" in rows["vectors@1"]
    assert "refused:" in rows["damaged@1"]
    assert "sha256" in rows["damaged@1"]


def test_figures_of_one_name_are_told_apart_by_their_data(command: Command) -> None:
    shown = command("models", "--model-store", Path(__file__).parents[2] / "model_store").stdout
    lines = shown.partition("omniglot-maml@")[2].partition("omniglot-vinyals@")[0].splitlines()[:-1]
    figures = [line.split("│")[-2].strip() for line in lines]
    judged = {figure.partition(" on ")[2] for figure in figures if figure.startswith("5-way 1-shot")}
    assert judged == {"omniglot test classes", "omniglot test classes, turned ones among them"}


def test_an_empty_store_is_an_empty_list(command: Command, tmp_path: Path) -> None:
    result = command("models", "--model-store", tmp_path)
    assert result.exit_code == 0
    assert "@" not in result.stdout


def test_a_store_that_is_not_there_is_one_line_on_stderr_and_status_1(command: Command, tmp_path: Path) -> None:
    result = command("models", "--model-store", tmp_path / "nothing")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith(f"Error: {tmp_path / 'nothing'}: expected a model store")


def test_the_store_comes_from_the_environment(command: Command, model_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNERLOOP_MODEL_STORE", str(model_store))
    assert "tiny@1" in command("models").stdout


def test_json_lists_the_same(command: Command, model_store: Path) -> None:
    found = {one["name"]: one for one in json.loads(command("models", "--model-store", model_store, "--json").stdout)}
    assert {name: one["status"] for name, one in found.items()} == {"tiny": "verified", "vectors": "verified", "damaged": "refused"}
    assert found["vectors"]["input"] == {"kind": "vector", "length": 3, "longest": None}
    assert "sha256" in found["damaged"]["reason"]
