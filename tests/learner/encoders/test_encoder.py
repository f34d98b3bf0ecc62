import pytest
import torch

from service.learner.encoders.encoder import activate, he_normal


def test_relu_cuts_at_zero_and_softplus_is_its_smooth_form() -> None:
    values = torch.tensor([-2.0, -0.1, 0.0, 0.1, 2.0], dtype=torch.float64)
    assert activate("relu", values).tolist() == [0, 0, 0, 0.1, 2.0]
    torch.testing.assert_close(activate("softplus", values), (1 + (4 * values).exp()).log() / 4)


def test_he_normal_has_variance_two_over_the_fan_in(generator: torch.Generator) -> None:
    assert he_normal((200, 50, 3, 3), generator).var().item() == pytest.approx(2 / 450, rel=0.02)
