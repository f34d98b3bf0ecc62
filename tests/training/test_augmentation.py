import pytest
import torch
from torch import Tensor

from service.training.augmentation import augment
from service.training.options import Augmentation
from tests.training.runs import tiny_data

OFF = {"turn": 0.0, "scale": 0.0, "stretch": 0.0, "slant": 0.0, "shift": 0.0, "bend": 0.0, "stroke": 0.0}


def only(**strengths: float) -> Augmentation:
    """One change alone."""
    return Augmentation.model_validate({**OFF, **strengths})


def altered(pictures: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """The pictures after `augment`, at the size they have."""
    return augment(pictures, options, generator, size=pictures.shape[-1])


def images() -> Tensor:
    return tiny_data()["train"].inputs[:12]


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dot(*, copies: int = 200, side: int = 41) -> Tensor:
    """Copies of a picture with one bright square right of its middle."""
    picture = torch.zeros(copies, 1, side, side, dtype=torch.uint8)
    picture[:, :, 19:22, 29:32] = 255
    return picture


def centres(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Where the light is: x and y of every picture, in -1..1 from its middle."""
    axis = (2 * torch.arange(pictures.shape[-1]) + 1) / pictures.shape[-1] - 1
    mass = pictures.sum(dim=(1, 2, 3))
    return (pictures.sum(dim=(1, 2)) * axis).sum(dim=1) / mass, (pictures.sum(dim=(1, 3)) * axis).sum(dim=1) / mass


def test_all_zero_gives_the_pictures_as_shares_of_255() -> None:
    assert torch.equal(altered(images(), only(), seeded()), images() / 255)


@pytest.mark.parametrize("name", OFF)
def test_every_change_changes_pictures_and_keeps_their_shape_and_range(name: str) -> None:
    changed = altered(images(), only(**{name: 0.5}), seeded())
    assert changed.shape == images().shape
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.allclose(changed, images() / 255, atol=0.05)


def test_the_same_generator_gives_the_same_pictures_and_another_others() -> None:
    first, again, other = (altered(images(), Augmentation(), seeded(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.05)


def test_a_picture_is_changed_the_same_whatever_the_others_show() -> None:
    mates = torch.cat([images()[:1], torch.randint(256, (11, 1, 16, 16), dtype=torch.uint8, generator=seeded())])
    assert torch.equal(altered(mates, Augmentation(), seeded())[0], altered(images(), Augmentation(), seeded())[0])


def test_copies_of_one_picture_are_changed_differently() -> None:
    copies = altered(images()[:1].repeat(12, 1, 1, 1), Augmentation(), seeded())
    assert len({tuple(copy.flatten().tolist()) for copy in copies}) == 12


def test_a_turn_keeps_the_distance_from_the_middle_and_its_angle_within_bounds() -> None:
    x, y = centres(altered(dot(), only(turn=0.5), seeded()))
    torch.testing.assert_close(torch.hypot(x, y), torch.full_like(x, centres(dot() / 255)[0][0].item()), atol=0.01, rtol=0)
    angles = torch.atan2(y, x)
    assert angles.min() < -0.4
    assert angles.max() > 0.4
    assert angles.abs().max() < 0.52


def test_a_shift_moves_both_ways_and_no_further_than_asked() -> None:
    (start, _), (x, y) = centres(dot() / 255), centres(altered(dot(), only(shift=0.2), seeded()))
    for moved in (x - start, y):
        assert moved.min() < -0.15
        assert moved.max() > 0.15
        assert moved.abs().max() < 0.21


def test_a_scale_moves_along_the_ray_by_a_factor_within_bounds() -> None:
    (start, _), (x, y) = centres(dot() / 255), centres(altered(dot(), only(scale=0.3), seeded()))
    factors = (x / start).log()
    assert factors.min() < -0.25
    assert factors.max() > 0.25
    assert factors.abs().max() < 0.32
    assert y.abs().max() < 0.01


def test_a_bend_moves_neighbours_together_and_the_picture_as_a_whole_not_at_all() -> None:
    two = dot() + dot().roll(4, dims=2)  # a second square, right below the first
    (x, y), (start_x, start_y) = centres(altered(two, only(bend=0.1), seeded())), centres(two / 255)
    for moved in (x - start_x, y - start_y):
        assert 0.03 < moved.std() < 0.2
        assert moved.mean().abs() < 0.03
    (above, _), (below, _) = (centres(altered(each, only(bend=0.1), seeded())) for each in (dot(), dot().roll(4, dims=2)))
    assert torch.corrcoef(torch.stack([above, below]))[0, 1] > 0.8


def test_a_stroke_is_thickened_and_thinned_and_keeps_its_full_strength() -> None:
    line = torch.zeros(200, 1, 21, 21, dtype=torch.uint8)
    line[:, :, :, 8:13] = 255
    restroked = altered(line, only(stroke=1.0), seeded())
    ink = restroked.sum(dim=(1, 2, 3)) / (line / 255).sum(dim=(1, 2, 3))
    # A share of a pixel on each side, of a line five pixels wide: up to 7/5, and down by 0.6 of a pixel on each side.
    assert 1.3 < ink.max() <= 7 / 5
    assert 1 - 0.6 * 2 / 5 <= ink.min() < 0.85
    assert torch.allclose(restroked.amax(dim=(1, 2, 3)), torch.ones(200))


def test_thinning_never_wipes_out_a_thin_stroke() -> None:
    thin = torch.zeros(100, 1, 9, 9, dtype=torch.uint8)
    thin[:, :, :, 4] = 255
    assert torch.allclose(altered(thin, only(stroke=1.0), seeded()).amax(dim=(1, 2, 3)), torch.ones(100))


def test_a_blank_picture_stays_blank_and_finite() -> None:
    assert torch.equal(altered(torch.zeros(3, 1, 16, 16, dtype=torch.uint8), Augmentation(), seeded()), torch.zeros(3, 1, 16, 16))


def test_larger_pictures_are_changed_first_and_reduced_then() -> None:
    large = images().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(augment(large, only(), seeded(), size=16), images() / 255)
    turned = augment(large, only(turn=0.3), seeded(), size=16)
    assert turned.shape == images().shape
    # The same turn of the same drawing, whatever the size it is made at.
    assert (turned - altered(images(), only(turn=0.3), seeded())).abs().mean() < 0.05
    assert (turned - images() / 255).abs().mean() > 0.05


def photographs(count: int = 40) -> Tensor:
    """Pictures in colour whose pixels differ."""
    return torch.randint(1, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def test_a_share_of_the_pictures_is_mirrored_and_the_others_stay() -> None:
    pictures = photographs(400)
    changed = altered(pictures, only(flip=0.25), seeded())
    mirrored = (changed == pictures.flip(-1) / 255).flatten(1).all(dim=1)
    assert torch.equal(changed[~mirrored], pictures[~mirrored] / 255)
    assert 60 < int(mirrored.sum()) < 140
    assert torch.equal(altered(pictures, only(flip=1), seeded()), pictures.flip(-1) / 255)


def test_light_keeps_an_even_grey_even_and_changes_every_picture_by_factors_of_its_own() -> None:
    grey = torch.full((50, 3, 4, 4), 100, dtype=torch.uint8)
    changed = altered(grey, only(light=0.3), seeded()) * 255 / 100
    assert torch.allclose(changed, changed[:, :1, :1, :1].expand_as(changed), atol=1e-5)
    factors = changed[:, 0, 0, 0].log()
    assert factors.abs().max() <= 0.3 + 1e-5
    assert factors.std() > 0.1


def test_light_changes_saturation_and_contrast_too_and_stays_in_range() -> None:
    pictures = photographs()
    changed = altered(pictures, only(light=0.5), seeded())
    assert changed.min() >= 0
    assert changed.max() <= 1

    def spread(values: Tensor, axes: tuple[int, ...]) -> Tensor:
        return values.std(dim=axes) / values.mean(dim=(1, 2, 3), keepdim=True).squeeze()

    before, after = pictures / 255, changed
    assert (spread(after, (1, 2, 3)) / spread(before, (1, 2, 3))).log().std() > 0.05
    colour = [
        (values - values.mean(dim=1, keepdim=True)).abs().mean(dim=(1, 2, 3)) / values.mean(dim=(1, 2, 3)) for values in (before, after)
    ]
    assert (colour[1] / colour[0]).log().std() > 0.1


def test_beyond_the_edge_lies_paper_or_the_picture_mirrored() -> None:
    white = torch.full((30, 3, 8, 8), 255, dtype=torch.uint8)
    assert altered(white, only(shift=0.5), seeded()).min() == 0
    mirrored = altered(white, Augmentation.model_validate({**OFF, "shift": 0.5, "edge": "mirror"}), seeded())
    torch.testing.assert_close(mirrored, torch.ones_like(mirrored))
