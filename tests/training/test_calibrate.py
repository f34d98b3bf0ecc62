import math
from dataclasses import replace
from typing import Any

import pytest

from service.learner.calibration import Calibration
from service.learner.episodes import EpisodeShape
from service.learner.meta_model import MetaModel
from service.training.calibrate import calibrate
from service.training.evaluate import evaluate, pool
from tests.tiny import tiny_model
from tests.training.runs import PER_CLASS, tiny_data, tiny_options


def fitted(model: MetaModel, **changes: Any) -> Calibration:
    found = calibrate(model, tiny_data()["validation"], tiny_options(**changes))
    assert found is not None
    return found


def model_of(**changes: Any) -> MetaModel:
    options = tiny_options(**changes)
    return tiny_model(options.build_encoder(), options.build_recipe())


def test_every_way_and_shot_that_the_classes_allow_has_its_cells() -> None:
    """There are eight validation classes of six drawings; two of those are queries. The preset takes 5 of at most 20 steps."""
    found = fitted(model_of(), calibration={"ways": [3, 8, 9], "shots": [1, 4, 5], "queries": 10})
    expected = [(way, shot, steps) for way in (3, 8) for shot in (1, 4) for steps in (0, 1, 5, 20)]
    assert [(cell.way, cell.shot, cell.steps) for cell in found.cells] == expected
    assert (found.data, found.queries) == ("glyphs validation classes", 10)


def test_a_per_class_head_is_calibrated_for_its_own_way_alone() -> None:
    changes = {"preset": "fomaml", **PER_CLASS, "calibration": {"ways": [2, 8], "shots": [1], "queries": 10}}
    assert {cell.way for cell in fitted(model_of(**changes), **changes).cells} == {5}


def test_classes_that_allow_no_cell_leave_scores_as_they_are() -> None:
    options = tiny_options(calibration={"ways": [9], "shots": [1]})
    assert calibrate(model_of(), tiny_data()["validation"], options) is None


@pytest.mark.parametrize("factor", [0.01, 0.1, 1.0])
def test_calibrated_scores_have_a_smaller_loss_however_large_the_logits_were(factor: float) -> None:
    plain_model = model_of()
    scale = plain_model.params["head.log_scale"] + math.log(factor)
    model = replace(plain_model, params={**plain_model.params, "head.log_scale": scale})
    options = {"calibration": {"ways": [4], "shots": [3], "queries": 400}}
    classes, shape = tiny_data()["validation"], EpisodeShape(4, (3, 3), 2)
    found = fitted(model, **options)
    plain, got = (evaluate(model, pool(model, classes, each), shape, steps=0, episodes=50, seed=3) for each in (None, found))
    assert got.loss <= plain.loss
    assert got.calibration_error < 0.1


def test_fitting_again_gives_the_same_temperatures() -> None:
    assert fitted(model_of()) == fitted(model_of())
