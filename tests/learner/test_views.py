from dataclasses import replace

import pytest
import torch

from service.inputs.preprocessing import Preprocessing
from service.learner.encoders.conv4 import Conv4
from service.learner.episodes import Support
from service.learner.heads import prototypes
from service.learner.meta_model import adapt, predict
from service.learner.recipe import Recipe
from service.learner.views import MOST_VIEWS, view, with_views
from tests.tiny import HEAD_RECIPE, SHAPES, drawing, tiny_model


def pictures() -> torch.Tensor:
    return torch.stack([Preprocessing()(drawing(shape)) for shape in SHAPES])


def support() -> Support:
    return Support(pictures(), torch.arange(len(SHAPES)), len(SHAPES))


def test_one_view_is_the_support_set_itself() -> None:
    mine = support()
    assert with_views(mine, 1) is mine


@pytest.mark.parametrize("count", [2, 5, MOST_VIEWS])
def test_views_come_view_by_view_and_the_first_is_the_picture(count: int) -> None:
    seen = with_views(support(), count)
    assert seen.inputs.shape == (count * len(SHAPES), 1, 28, 28)
    assert seen.labels.tolist() == list(range(len(SHAPES))) * count
    assert torch.equal(seen.inputs[: len(SHAPES)], pictures() / 255)
    for index in range(count):
        assert torch.equal(seen.inputs[index * len(SHAPES) : (index + 1) * len(SHAPES)], view(pictures(), index))


def test_every_view_differs_a_little_from_every_other() -> None:
    seen = torch.stack([view(pictures(), index) for index in range(MOST_VIEWS)])
    assert seen.min() >= 0
    assert seen.max() <= 1
    for one in range(MOST_VIEWS):
        for other in range(one):
            changed = (seen[one] - seen[other]).abs().mean(dim=(1, 2, 3))
            assert (changed > 0.01).all()
            assert (changed < 0.3).all()


def test_a_view_of_a_picture_does_not_depend_on_the_others() -> None:
    alone = torch.cat([view(picture[None], 3) for picture in pictures()])
    assert torch.equal(view(pictures(), 3), alone)


def test_views_of_bytes_are_those_of_shares() -> None:
    torch.testing.assert_close(view(pictures(), 1), view(pictures() / 255, 1))


def test_a_meta_model_starts_from_the_mean_of_all_views() -> None:
    model = tiny_model(Conv4(width=8), replace(HEAD_RECIPE, views=3))
    adapted = adapt(model, support(), 0).params
    seen = model.embed(torch.cat([view(pictures(), index) for index in range(3)]))
    centres = prototypes(seen, torch.eye(len(SHAPES)).repeat(3, 1))
    torch.testing.assert_close(adapted["head.weight"], 2 * centres)
    assert predict(model, adapted, pictures()).argmax(dim=1).tolist() == list(range(len(SHAPES)))


@pytest.mark.parametrize("views", [0, MOST_VIEWS + 1])
def test_other_numbers_of_views_are_refused(views: int) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to {MOST_VIEWS} views, got {views}"):
        Recipe(views=views)
