"""The meta-model that the repository ships keeps what its card says."""

import io
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from service.inputs.preprocessing import Preprocessing
from service.inputs.specification import ImageInput
from service.learner.episodes import ClassInputs, EpisodeShape
from service.registry.read import Stored, read
from service.training.evaluate import evaluate, pool
from service.training.sources.class_folders import class_folders

SHIPPED = Path(__file__).parents[1] / "model_store" / "omniglot" / "1"

# What the evaluation characters must at least give, in 1,000 episodes.
FLOOR = {(5, 1): 0.97, (5, 5): 0.99, (20, 1): 0.92, (20, 5): 0.975}


@pytest.fixture(scope="module")
def shipped() -> Stored:
    return read(SHIPPED)


@pytest.fixture(scope="module")
def evaluation(shipped: Stored, data_root: Path) -> ClassInputs:
    """The 659 evaluation characters as the server reads them."""
    assert isinstance(shipped.manifest.input, ImageInput)
    return class_folders(data_root / "omniglot" / "images_evaluation.zip", shipped.manifest.input.preprocessing)


def test_it_is_small_and_its_evaluation_classes_are_unseen(shipped: Stored) -> None:
    assert shipped.manifest.weights.bytes <= 8_000_000
    assert shipped.manifest.training.classes == {"train": 4 * 792, "validation": 172, "test": 659}
    assert {name.split("/")[0] for name in shipped.manifest.training.validation_classes} == {
        "Armenian",
        "Bengali",
        "Early_Aramaic",
        "Hebrew",
        "Mkhedruli_(Georgian)",
    }


@pytest.mark.data
@pytest.mark.parametrize(("way", "shot"), FLOOR)
def test_its_accuracy_stays_above_the_floor(shipped: Stored, evaluation: ClassInputs, way: int, shot: int) -> None:
    steps = shipped.manifest.recipe.steps_default
    judged = evaluate(
        shipped.model, pool(shipped.model, evaluation), EpisodeShape(way, (shot, shot), 5), steps=steps, episodes=1000, seed=7
    )
    assert judged.accuracy > FLOOR[way, shot]
    (row,) = [row for row in shipped.manifest.evaluation if (row.way, row.shot) == (way, shot)]
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
