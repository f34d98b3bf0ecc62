import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.learner.calibration import Calibration, Cell
from service.learner.encoders.conv4 import Conv4
from service.learner.recipe import Recipe
from tests.cli.conftest import Command
from tests.registry.stored import edit_manifest
from tests.tiny import tiny_model, write_tiny

QUICK = ("--way", 3, "--shot", 1, "--queries", 1, "--episodes", 20)

Evaluate = Callable[..., Any]


@pytest.fixture
def evaluate(command: Command, model_store: Path, drawings: Path) -> Evaluate:
    """Runs `innerloop evaluate` on the drawings, with few episodes."""

    def run(model: str, *options: object) -> Any:
        arguments = ("--model-store", model_store, "--data", drawings, *QUICK, *options)
        return command("evaluate", model, *map(str, arguments))

    return run


def rows(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout))


def assert_refused(result: Any, said: str) -> None:
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr


def test_a_cell_of_the_table_is_accuracy_with_its_confidence(evaluate: Evaluate) -> None:
    [row] = rows(evaluate("tiny", "--json"))
    assert (row["way"], row["shot"], row["steps"], row["episodes"]) == (3, 1, 3, 20)
    assert 1 / 3 < row["accuracy"] <= 1
    assert 0 <= row["ci95"] < 0.5
    table = evaluate("tiny").stdout
    assert f"{row['accuracy']:.2%} ± {row['ci95']:.2%}" in table


def test_every_way_is_judged_with_every_shot(evaluate: Evaluate) -> None:
    result = rows(evaluate("tiny", "--way", 2, "--shot", 2, "--json"))
    assert [(row["way"], row["shot"]) for row in result] == [(3, 1), (3, 2), (2, 1), (2, 2)]


def test_the_same_seed_gives_the_same_episodes_and_another_gives_others(evaluate: Evaluate) -> None:
    first, again, other = (rows(evaluate("tiny", "--seed", seed, "--json"))[0]["loss"] for seed in (1, 1, 2))
    assert first == again != other


def test_steps_are_the_models_own_unless_given(evaluate: Evaluate) -> None:
    assert rows(evaluate("tiny", "--json")) == rows(evaluate("tiny", "--steps", 3, "--json"))
    assert rows(evaluate("tiny", "--steps", 0, "--json"))[0]["steps"] == 0


@pytest.mark.parametrize("steps", [-1, 11])
def test_steps_that_the_model_was_not_validated_for_are_refused(evaluate: Evaluate, steps: int) -> None:
    assert_refused(evaluate("tiny", "--steps", steps), "0 to 10 inner steps")


def test_a_zip_of_the_folder_gives_the_same_accuracy(evaluate: Evaluate, drawings: Path) -> None:
    packed = shutil.make_archive(str(drawings), "zip", drawings)
    [from_folder], [from_zip] = rows(evaluate("tiny", "--json")), rows(evaluate("tiny", "--data", packed, "--json"))
    assert from_folder | {"data": None} == from_zip | {"data": None}


@pytest.mark.parametrize("model", ["nothing", "tiny@2"])
def test_a_model_that_is_not_there_is_named_beside_those_that_are(evaluate: Evaluate, model: str) -> None:
    assert_refused(evaluate(model), f"no meta-model '{model}'; it holds damaged@1, tiny@1, vectors@1")


def test_a_damaged_model_is_refused(evaluate: Evaluate) -> None:
    assert_refused(evaluate("damaged"), "sha256")


def test_a_model_of_vectors_is_refused(evaluate: Evaluate) -> None:
    assert_refused(evaluate("vectors"), "takes vector inputs")


def test_more_classes_than_there_are_is_refused(evaluate: Evaluate) -> None:
    assert_refused(evaluate("tiny", "--way", 6), "6")


def test_data_that_is_not_there_is_named(evaluate: Evaluate, tmp_path: Path) -> None:
    assert_refused(evaluate("tiny", "--data", tmp_path / "nothing"), str(tmp_path / "nothing"))


def test_omniglot_needs_a_folder(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INNERLOOP_DATA_ROOT", raising=False)
    assert_refused(evaluate("tiny", "--data", "omniglot"), "--data-root")


def test_the_newest_version_of_a_name_is_judged(evaluate: Evaluate, model_store: Path) -> None:
    shutil.copytree(model_store / "damaged" / "1", model_store / "tiny" / "2")
    assert_refused(evaluate("tiny"), str(model_store / "tiny" / "2"))
    assert rows(evaluate("tiny@1", "--json"))


def test_turned_classes_count_when_asked_for(evaluate: Evaluate) -> None:
    [row] = rows(evaluate("tiny", "--rotations", "--way", 20, "--json"))[1:]
    assert (row["way"], row["rotations"]) == (20, True)  # there are only five upright


def test_episodes_within_one_parent_folder_need_one_that_is_large_enough(evaluate: Evaluate, drawings: Path) -> None:
    for index, folder in enumerate(sorted(drawings.iterdir())):
        shutil.move(folder, drawings / f"alphabet{index // 3}" / folder.name)
    [row] = rows(evaluate("tiny", "--within", "--json"))
    assert (row["way"], row["within"]) == (3, True)
    assert_refused(evaluate("tiny", "--within", "--way", 4), "groups of at least 4 classes, got none larger than 3")


def test_a_report_has_every_cell_that_the_classes_allow_the_curve_and_the_times(evaluate: Evaluate, tmp_path: Path) -> None:
    """There are five classes of four drawings each, so three shots at most beside one query; `evaluate` passes 3-way 1-shot."""
    folder = tmp_path / "report"
    result = evaluate("tiny", "--report", folder, "--way", 2, "--shot", 2)
    assert result.exit_code == 0, result.output
    assert [Path(line.removeprefix("written to ")).name for line in result.stdout.splitlines()] == [
        "report.md",
        "report.json",
        "report.png",
    ]
    report = json.loads((folder / "report.json").read_text())
    assert [(row["kind"], row["way"], row["shot"], row["steps"]) for row in report["cells"]] == [
        ("classification", 3, [1, 1], 3),
        ("classification", 3, [2, 2], 3),
        ("classification", 2, [1, 1], 3),
        ("classification", 2, [2, 2], 3),
    ]
    assert [row["steps"] for row in report["curve"]] == list(range(11))
    assert (report["model"], report["classes"], report["calibrated"], report["threads"]) == ("tiny@1", 5, False, 1)
    [times] = report["times"]
    assert 0 < times["quartiles"][0] <= times["median"] <= times["quartiles"][1]
    [row] = rows(evaluate("tiny", "--json"))
    assert (report["cells"][0]["accuracy"], report["cells"][0]["loss"]) == (row["accuracy"], row["loss"])
    assert report["curve"][3] == report["cells"][0]
    text = (folder / "report.md").read_text()
    assert f"| 3 | 1 | {100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f} | {100 * row['calibration_error']:.2f} |" in text
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_scores_are_judged_as_the_manifest_calibrates_them(evaluate: Evaluate, model_store: Path) -> None:
    write_tiny(model_store, "sure", calibration=Calibration("none", 1, (Cell(3, 1, 3, 0.2),)))
    [plain], [sure] = rows(evaluate("tiny", "--json")), rows(evaluate("sure", "--json"))
    assert sure["accuracy"] == plain["accuracy"]
    assert sure["loss"] != pytest.approx(plain["loss"], rel=0.01)


@pytest.fixture
def by_default(command: Command, model_store: Path) -> Evaluate:
    """Runs `innerloop evaluate` with its own ways and shots, few queries and episodes."""

    def run(model: str, *options: object) -> Any:
        few = ("--queries", 1, "--episodes", 4, "--model-store", model_store)
        return command("evaluate", model, *map(str, (*few, *options)))

    return run


def cells(result: Any) -> list[tuple[int, int]]:
    return [(row["way"], row["shot"]) for row in rows(result)]


def test_ways_and_shots_that_nobody_asked_for_are_those_that_fit(by_default: Evaluate, drawings: Path, tmp_path: Path) -> None:
    assert cells(by_default("tiny", "--data", drawings, "--json")) == [(5, 1)]  # four drawings each, so no five shots
    shutil.rmtree(drawings / "vee")
    assert cells(by_default("tiny", "--data", drawings, "--json")) == [(4, 1)]
    assert cells(by_default("tiny", "--data", drawings, "--way", 3, "--json")) == [(3, 1)]
    assert_refused(by_default("tiny", "--data", drawings, "--way", 3, "--way", 6), "6")
    assert_refused(by_default("tiny", "--data", drawings, "--shot", 5), "at least 6 inputs")
    assert_refused(by_default("tiny", "--data", drawings, "--queries", 4), "at least 5 inputs")
    assert_refused(by_default("tiny", "--data", drawings, "--queries", 4, "--report", tmp_path / "report"), "at least 5 inputs")


def test_a_per_class_head_is_judged_at_its_own_way(by_default: Evaluate, model_store: Path, drawings: Path) -> None:
    write_tiny(model_store, "three", tiny_model(Conv4(width=8), Recipe(head="per_class", way=3, steps_default=1, steps_max=2)))
    assert cells(by_default("three", "--data", drawings, "--json")) == [(3, 1)]
    assert_refused(by_default("three", "--data", drawings, "--way", 5), "expected 3 classes in an episode")
    for shape in ("bar", "corner", "cross"):
        shutil.rmtree(drawings / shape)
    assert_refused(by_default("three", "--data", drawings), "3")


def trained_on(model_store: Path, source: str = "folder", **data: Any) -> None:
    """Let the manifest say that `tiny` was trained on a folder of five classes."""
    parts = {"train_classes": ["bar", "corner"], "validation_classes": ["cross"], "test_classes": ["ring", "vee"]}
    said = {"config": {"data": {"source": source, **data}}, **parts}
    edit_manifest(model_store / "tiny" / "1", lambda table: table["training"].update(said))


def test_of_the_folder_that_was_trained_on_the_test_classes_are_judged(
    by_default: Evaluate, model_store: Path, drawings: Path, tmp_path: Path
) -> None:
    alone = shutil.copytree(drawings, tmp_path / "alone", ignore=shutil.ignore_patterns("bar", "corner", "cross"))
    expected = rows(by_default("tiny", "--data", alone, "--json"))
    trained_on(model_store, path=str(drawings))
    result = by_default("tiny", "--data", drawings, "--json")
    assert [row | {"data": ""} for row in rows(result)] == [row | {"data": ""} for row in expected]
    assert f"judging the 2 test classes of {drawings}; 3 others were trained or validated on" in result.stderr
    assert cells(result) == [(2, 1)]
    assert by_default("tiny", "--data", drawings, "--report", tmp_path / "report").exit_code == 0
    assert json.loads((tmp_path / "report" / "report.json").read_text())["classes"] == 2


def test_what_training_left_out_is_left_out_again(by_default: Evaluate, model_store: Path, drawings: Path) -> None:
    for name in ("ring/bad.png", "stray.png"):
        (drawings / name).write_bytes(b"no image")
    trained_on(model_store, path=str(drawings), leave_out=["bar/gone.png", "ring/bad.png", "stray.png"])
    assert cells(by_default("tiny", "--data", drawings, "--json")) == [(2, 1)]
    trained_on(model_store, path=str(drawings), leave_out=["stray.png"])
    assert "ring/bad.png" in by_default("tiny", "--data", drawings).stderr


def test_classes_that_were_trained_on_are_refused_without_test_classes(by_default: Evaluate, model_store: Path, drawings: Path) -> None:
    trained_on(model_store)
    for shape in ("ring", "vee"):
        shutil.move(drawings / shape, drawings / f"other {shape}")
    assert_refused(by_default("tiny", "--data", drawings), "got 3 that were trained or validated on (bar, corner, cross)")


def test_a_folder_of_new_classes_is_judged_whole(by_default: Evaluate, model_store: Path, drawings: Path) -> None:
    trained_on(model_store)
    for shape in list(drawings.iterdir()):
        shutil.move(shape, drawings / f"new {shape.name}")
    result = by_default("tiny", "--data", drawings, "--json")
    assert (cells(result), result.stderr) == ([(5, 1)], "")
    trained_on(model_store, source="glyphs")
    assert cells(by_default("tiny", "--data", drawings, "--json")) == [(5, 1)]


def test_a_split_of_ones_own_images_is_none_of_omniglot(by_default: Evaluate, model_store: Path, tmp_path: Path) -> None:
    trained_on(model_store, split=str(tmp_path / "splits.json"))
    assert_refused(by_default("tiny", "--data", "omniglot", "--data-root", tmp_path), "mniglot")
