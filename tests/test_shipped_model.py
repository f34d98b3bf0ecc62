"""The meta-models that the repository ships keep what their cards say."""

import io
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import EpisodeShape
from service.registry.read import Stored, find, versions
from service.training.evaluate import Pool, evaluate, pool
from service.training.options import TrainOptions, read_options
from service.training.sources.load import load_data

STORE = Path(__file__).parents[1] / "model_store"

ALPHABETS = {"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"}

# What the upright test classes must at least give, in 1,000 episodes.
FLOOR = {
    "omniglot": {(5, 1): 0.985, (5, 5): 0.995, (20, 1): 0.955, (20, 5): 0.985},
    "omniglot-vinyals": {(5, 1): 0.985, (5, 5): 0.995, (20, 1): 0.955, (20, 5): 0.985},
}
CLASSES = {
    "omniglot": {"train": 8 * 792, "validation": 172, "test": 659},
    "omniglot-vinyals": {"train": 8 * 1028, "validation": 172, "test": 423},
}


@pytest.fixture(scope="module", params=list(FLOOR))
def shipped(request: pytest.FixtureRequest) -> Stored:
    return find(STORE, request.param)


@pytest.fixture(scope="module")
def unseen(shipped: Stored, data_root: Path) -> Pool:
    """The test classes as the server reads them."""
    options = TrainOptions.model_validate(shipped.manifest.training.config)
    data = options.data.model_copy(update={"rotations": False, "reflections": False, "oversample": 1})
    return pool(shipped.model, load_data(data, options.preprocessing, data_root=data_root)["test"])


def test_these_meta_models_are_all_there_is() -> None:
    assert [folder.parent.name for folder in versions(STORE)] == list(FLOOR)


def test_it_is_small_and_its_test_classes_are_unseen(shipped: Stored) -> None:
    assert shipped.manifest.weights.bytes <= 8_000_000
    assert shipped.manifest.training.classes == CLASSES[shipped.manifest.name]
    training = shipped.manifest.training
    if training.config["data"]["source"] == "omniglot":
        assert {name.split("/")[0] for name in training.validation_classes} == ALPHABETS
    else:
        parts = (training.train_classes, training.validation_classes, training.test_classes)
        assert len({name for part in parts for name in part}) == sum(map(len, parts))


def test_it_was_trained_by_the_committed_configuration(shipped: Stored) -> None:
    committed = read_options(STORE.parent / "configs" / f"{shipped.manifest.name}.toml")
    assert TrainOptions.model_validate(shipped.manifest.training.config) == committed


@pytest.mark.data
@pytest.mark.parametrize(("way", "shot"), [(5, 1), (5, 5), (20, 1), (20, 5)])
def test_its_accuracy_stays_above_the_floor(shipped: Stored, unseen: Pool, way: int, shot: int) -> None:
    steps = shipped.manifest.recipe.steps_default
    judged = evaluate(shipped.model, unseen, EpisodeShape(way, (shot, shot), 5), steps=steps, episodes=1000, seed=7)
    assert judged.accuracy > FLOOR[shipped.manifest.name][way, shot]
    row = next(row for row in shipped.manifest.evaluation if (row.way, row.shot) == (way, shot))  # the first is of upright classes
    assert judged.accuracy == pytest.approx(row.accuracy, abs=3 * (judged.ci95 + row.ci95) / 1.96)


@pytest.mark.data
def test_inverted_and_coloured_versions_of_real_drawings_are_the_same_to_it(data_root: Path) -> None:
    preprocessing = Preprocessing()
    with zipfile.ZipFile(data_root / "omniglot" / "images_evaluation.zip") as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith(".png")][::400]
        drawings = [Image.open(io.BytesIO(archive.read(name))).convert("L") for name in names]
    for drawing in drawings:
        inverse = drawing.point(lambda value: 255 - value)
        alpha = Image.merge("RGBA", [Image.new("L", drawing.size, 20)] * 3 + [inverse])
        for version in (inverse, drawing.convert("RGB"), drawing.convert("RGBA"), alpha):
            assert torch.equal(preprocessing(version), preprocessing(drawing))
