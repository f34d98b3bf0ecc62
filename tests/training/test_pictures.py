import torch

from service.learner.episodes import Episode, Support
from service.training.pictures import MOST_CLASSES, MOST_EXAMPLES, episode_picture


def flat(brightness: float, channels: int = 1) -> torch.Tensor:
    return torch.full((1, channels, 4, 4), brightness)


def test_a_class_is_a_row_of_its_support_a_white_line_and_its_queries() -> None:
    """Class 0 has two examples, class 1 one; the examples come mixed."""
    support = Support(torch.cat([flat(0.2), flat(0.3), flat(0.4)]), torch.tensor([0, 1, 0]), 2)
    picture = episode_picture(Episode(support, torch.cat([flat(0.6), flat(0.5)]), torch.tensor([1, 0])))
    assert picture.shape == (1, 8, 4 + 4 + 2 + 4)
    rows = [picture[0, 4 * label, [0, 4, 8, 9, 10]] for label in (0, 1)]
    torch.testing.assert_close(torch.stack(rows), torch.tensor([[0.2, 0.4, 1, 1, 0.5], [0.3, 0, 1, 1, 0.6]]))


def test_a_large_episode_of_colour_is_cut_to_what_can_be_seen() -> None:
    way, shot = MOST_CLASSES + 3, MOST_EXAMPLES + 2
    labels = torch.arange(way).repeat_interleave(shot)
    support = Support(flat(0.5, 3).expand(len(labels), -1, -1, -1), labels, way)
    picture = episode_picture(Episode(support, flat(0.5, 3).expand(way, -1, -1, -1), torch.arange(way)))
    assert picture.shape == (3, 4 * MOST_CLASSES, 4 * MOST_EXAMPLES + 2 + 4)
