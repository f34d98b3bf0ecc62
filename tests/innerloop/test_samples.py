import io

import numpy as np
import pytest
from PIL import Image

from innerloop.samples import SIDE, sample
from innerloop.wire import ModelInfo


def model(**takes: object) -> ModelInfo:
    return ModelInfo(name="m", version=1, default=True, status="serving", input=takes)


def test_drawings_are_pictures_with_ink_that_differ_less_within_a_class() -> None:
    drawn = sample(model(kind="image"), way=3, shot=2)
    assert [len(one) for one in drawn.values()] == [2, 2, 2]
    pictures = [[np.asarray(Image.open(io.BytesIO(each))) for each in images] for images in drawn.values()]  # type: ignore[arg-type]
    assert all(one.shape == (SIDE, SIDE) and one.min() == 0 and (one[0] == 255).all() for images in pictures for one in images)
    assert not np.array_equal(pictures[0][0], pictures[0][1])


@pytest.mark.parametrize(("length", "wanted"), [(3, 3), (None, 16)])
def test_vectors_have_the_length_that_the_meta_model_takes(length: int | None, wanted: int) -> None:
    made = sample(model(kind="vector", length=length), way=2, shot=4)
    assert np.array(list(made.values())).shape == (2, 4, wanted)


def test_a_seed_names_the_sample() -> None:
    assert sample(model(kind="image"), way=2, shot=1, seed=1) == sample(model(kind="image"), way=2, shot=1, seed=1)
    assert sample(model(kind="image"), way=2, shot=1, seed=1) != sample(model(kind="image"), way=2, shot=1, seed=2)
