import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.learner.episodes import EpisodeShape
from service.learner.inner_loop import LARGEST_RATE
from service.learner.meta_model import MetaModel
from service.registry.read import read
from service.training.calibrate import calibrate
from service.training.evaluate import Pool, evaluate, pool
from service.training.meta_train import Trained
from service.training.options import TrainOptions
from service.training.publish import STEP_SEARCH_EPISODES, calibrate_again, evaluation_rows, publish, with_honest_steps
from tests.tiny import tiny_model
from tests.training.runs import PER_CLASS, SHIPPED_KIND, assert_same, loaded_data, tiny_data, tiny_options, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    trained = train(tiny_options(), tmp_path_factory.mktemp("run"))
    assert trained is not None
    return trained


@pytest.fixture
def published(trained: Trained, tmp_path: Path) -> Path:
    return publish(tiny_options(), trained, tiny_data(), tmp_path / "store")


def as_published(trained: Trained, published: Path) -> Pool:
    """The test classes, with the calibration of what was published."""
    return pool(trained.model, tiny_data()["test"], read(published).manifest.calibration)


def with_rate(model: MetaModel, rate: float) -> MetaModel:
    """The same meta-model with other inner steps."""
    rates = {name: torch.tensor(rate).log() for name in model.params if name.startswith("rate.")}
    return replace(model, params={**model.params, **rates})


def validation_losses(options: TrainOptions, model: MetaModel) -> list[float]:
    """The validation loss after every count of steps from the default's on."""
    how = options.validation
    shape = EpisodeShape(how.way, (how.shot, how.shot), how.queries)
    counts = range(model.recipe.steps_default, model.recipe.steps_max + 1)
    validation = tiny_data()["validation"]
    return [
        evaluate(model, pool(model, validation), shape, steps=count, episodes=STEP_SEARCH_EPISODES, seed=options.seed).loss
        for count in counts
    ]


def test_what_is_published_is_what_was_trained(trained: Trained, published: Path, tmp_path: Path) -> None:
    assert published == tmp_path / "store" / "tiny" / "1"
    stored = read(published)
    assert_same(dict(stored.model.params), dict(sorted(trained.model.params.items())))
    assert_same(dict(stored.model.statistics), dict(sorted(trained.model.statistics.items())))
    assert stored.model.encoder == trained.model.encoder
    assert replace(stored.model.recipe, steps_max=20) == trained.model.recipe


def test_the_manifest_says_where_the_weights_came_from(trained: Trained, published: Path) -> None:
    training = read(published).manifest.training
    assert TrainOptions.model_validate(training.config) == tiny_options()
    assert training.classes == {"train": 8, "validation": 8, "test": 8}
    assert training.validation_classes == tiny_data()["validation"].names
    assert training.test_classes == tiny_data()["test"].names
    assert (training.meta_steps, training.best_step, training.threads) == (9, trained.best.step, 1)
    assert "arXiv" in training.paper


def test_the_manifest_names_training_classes_as_they_came_and_counts_their_turned_and_mirrored_copies(tmp_path: Path) -> None:
    options = tiny_options(**SHIPPED_KIND)
    trained = train(options, tmp_path / "run", data=loaded_data())
    assert trained is not None
    training = read(publish(options, trained, loaded_data(), tmp_path / "store")).manifest.training
    assert training.classes["train"] == 80
    assert training.train_classes == tuple(f"glyph-0-{index:04d}" for index in range(10))


def test_the_manifest_tells_pretraining_from_meta_training(tmp_path: Path) -> None:
    options = tiny_options(pretraining={"steps": 2, "batch": 4})
    trained = train(options, tmp_path / "run")
    assert trained is not None
    folder = publish(options, trained, tiny_data(), tmp_path / "store")
    training = read(folder).manifest.training
    assert (training.pretraining_steps, training.meta_steps) == (2, 9)
    assert "Trained to tell all training classes apart for 2 batches. Meta-trained" in (folder / "CARD.md").read_text(encoding="utf-8")


def test_the_evaluation_table_holds_what_judging_again_gives(trained: Trained, published: Path) -> None:
    [row] = read(published).manifest.evaluation
    assert (row.way, row.shot, row.scope, row.steps, row.episodes, row.queries_per_class) == (3, 1, "head", 5, 8, 2)
    judged = evaluate(
        trained.model, as_published(trained, published), EpisodeShape(3, (1, 1), 2), steps=5, episodes=8, seed=tiny_options().seed
    )
    assert (row.accuracy, row.ci95) == pytest.approx((judged.accuracy, judged.ci95), abs=1e-5)
    assert row.calibration_error == pytest.approx(judged.calibration_error, abs=1e-5)


def test_scores_are_calibrated_on_validation_classes(published: Path) -> None:
    stored = read(published)
    assert stored.manifest.calibration == calibrate(stored.model, tiny_data()["validation"], tiny_options())


def test_calibrating_again_keeps_the_weights_and_makes_the_next_version(published: Path, tmp_path: Path) -> None:
    options = tiny_options(
        calibration={"ways": [2], "shots": [1], "queries": 40}, final={"ways": [4], "shots": [1], "queries": 2, "episodes": 4}
    )
    before = read(published)
    folder = calibrate_again(before, options, tiny_data(), tmp_path / "store")
    assert folder == published.parent / "2"
    assert (folder / "weights.safetensors").read_bytes() == (published / "weights.safetensors").read_bytes()
    after = read(folder).manifest
    assert after.calibration is not None
    assert {(cell.way, cell.shot) for cell in after.calibration.cells} == {(2, 1)}
    assert [row.way for row in after.evaluation] == [4]
    same = {"version", "created_at", "calibration", "evaluation"}
    assert after.model_dump(exclude=same) == before.manifest.model_dump(exclude=same)


def test_the_manifest_states_the_spread_of_the_validation_classes(trained: Trained, published: Path) -> None:
    prepared = pool(trained.model, tiny_data()["validation"])
    own = [prepared.queries[start:end] for start, end in itertools.pairwise(prepared.rows.first)]
    scattered = sum(float((each - each.mean(dim=0)).square().sum()) for each in own)
    assert read(published).manifest.spread == pytest.approx(scattered / sum(len(each) - 1 for each in own), rel=1e-4)


def test_publishing_again_makes_the_next_version(trained: Trained, published: Path, tmp_path: Path) -> None:
    before = (published / "manifest.json").read_bytes()
    assert publish(tiny_options(), trained, tiny_data(), tmp_path / "store") == published.parent / "2"
    assert (published / "manifest.json").read_bytes() == before


def test_the_manifest_states_steps_max_as_searched(published: Path, trained: Trained) -> None:
    honest = with_honest_steps(tiny_options(), trained.model, tiny_data()["validation"]).recipe.steps_max
    assert json.loads((published / "manifest.json").read_text())["recipe"]["steps_max"] == honest


@pytest.mark.parametrize("rate", [1e-6, 2.0, 100.0])
def test_steps_max_is_the_largest_count_no_worse_than_the_default(rate: float, trained: Trained) -> None:
    options = tiny_options()
    model = with_rate(replace(trained.model, recipe=replace(trained.model.recipe, steps_default=1, steps_max=6)), rate)
    losses = validation_losses(options, model)
    expected = max(1 + more for more, loss in enumerate(losses) if loss <= losses[0])
    assert with_honest_steps(options, model, tiny_data()["validation"]).recipe.steps_max == expected


def test_the_search_above_has_both_outcomes(trained: Trained) -> None:
    """From a head that is far too unsure, small steps improve up to the limit; huge ones make it worse at once."""
    unsure = {**trained.model.params, "head.log_scale": torch.tensor(1e-3).log()}
    model = replace(trained.model, params=unsure, recipe=replace(trained.model.recipe, steps_default=0, steps_max=3))
    searched = [with_honest_steps(tiny_options(), with_rate(model, rate), tiny_data()["validation"]).recipe for rate in (1.0, LARGEST_RATE)]
    assert [recipe.steps_max for recipe in searched] == [3, 0]
    assert [recipe.steps_default for recipe in searched] == [0, 0]


def test_ways_beyond_the_test_classes_are_left_out_of_the_table(trained: Trained) -> None:
    options = tiny_options(final={"ways": [3, 8, 9], "shots": [1, 2], "queries": 2, "episodes": 4})
    rows = evaluation_rows(trained.model, pool(trained.model, tiny_data()["test"]), options, label="test")
    assert [(row.way, row.shot) for row in rows] == [(3, 1), (3, 2), (8, 1), (8, 2)]


def test_a_per_class_head_is_judged_at_its_own_way() -> None:
    options = tiny_options(preset="fomaml", **{**PER_CLASS, "final": {"ways": [3, 5, 8], "shots": [1], "queries": 2, "episodes": 4}})
    model = tiny_model(options.build_encoder(), options.build_recipe())
    rows = evaluation_rows(model, pool(model, tiny_data()["test"]), options, label="test")
    assert [(row.way, row.scope, row.steps) for row in rows] == [(5, "all", 3)]


def test_turned_test_classes_are_judged_beside_the_upright_ones_when_asked_for(trained: Trained, tmp_path: Path) -> None:
    options = tiny_options(final={"ways": [3, 20], "shots": [1], "queries": 2, "episodes": 4, "rotations": True})
    stored = read(publish(options, trained, tiny_data(), tmp_path / "store"))
    rows = stored.manifest.evaluation
    upright, turned = "glyphs test classes", "glyphs test classes, turned ones among them"
    # There are eight test classes, and thirty-two with their turns.
    assert [(row.data, row.way) for row in rows] == [(upright, 3), (turned, 3), (turned, 20)]
    prepared = pool(trained.model, tiny_data()["test"].with_rotations(), stored.manifest.calibration)
    judged = evaluate(trained.model, prepared, EpisodeShape(20, (1, 1), 2), steps=5, episodes=4, seed=options.seed)
    assert rows[2].accuracy == pytest.approx(judged.accuracy, abs=1e-5)
    assert rows[2].calibration_error == pytest.approx(judged.calibration_error, abs=1e-5)
