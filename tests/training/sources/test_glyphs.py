import torch

from service.inputs.preprocessing import Preprocessing
from service.training.sources.glyphs import glyphs

SMALL = Preprocessing(size=20)


def test_the_same_seed_draws_the_same_characters() -> None:
    first, again = glyphs(6, 3, SMALL, seed=1), glyphs(6, 3, SMALL, seed=1)
    assert first.names == again.names
    assert torch.equal(first.inputs, again.inputs)


def test_a_class_does_not_depend_on_how_many_others_are_drawn() -> None:
    few, many = glyphs(2, 3, SMALL, seed=1), glyphs(9, 3, SMALL, seed=1)
    assert torch.equal(many.inputs[: many.first[2]], few.inputs)


def test_seeds_share_neither_names_nor_drawings() -> None:
    alphabets = [glyphs(12, 3, SMALL, seed=seed) for seed in range(4)]
    names = [name for alphabet in alphabets for name in alphabet.names]
    drawings = [bytes(image.flatten().tolist()) for alphabet in alphabets for image in alphabet.inputs]
    assert len(set(names)) == len(names) == 48
    assert len(set(drawings)) == len(drawings) == 144


def test_every_class_has_as_many_drawings_as_asked_for() -> None:
    classes = glyphs(5, 4, Preprocessing(size=20, channels=3), seed=0)
    assert [classes.size(k) for k in range(len(classes))] == [4] * 5
    assert classes.inputs.shape == (20, 3, 20, 20)
    assert classes.inputs.dtype == torch.uint8


def test_drawings_of_one_character_are_alike_and_those_of_two_are_not() -> None:
    """Else there were nothing to learn, or nothing to learn from."""
    classes = glyphs(30, 6, SMALL, seed=0)
    pixels = classes.inputs.flatten(1).float() / 255
    distances, labels = torch.cdist(pixels, pixels), torch.arange(30).repeat_interleave(6)
    same, itself = labels[:, None] == labels, torch.eye(len(labels), dtype=torch.bool)
    assert distances[same & ~itself].min() > 0
    assert distances[same & ~itself].mean() < 0.9 * distances[~same].mean()
