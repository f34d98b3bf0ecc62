from typing import Any

import pytest
import torch
from torch import nn

from service.learner.encoders.encoder import Activation
from service.learner.encoders.mlp import Mlp
from service.learner.statistics import FrozenStatistics
from tests.learner.tasks import distance

FROZEN = FrozenStatistics({})


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_it_is_the_network_that_torchs_own_modules_make(activation: Activation, generator: torch.Generator) -> None:
    encoder = Mlp(inputs=4, width=6, layers=3, activation=activation)
    params = {name: value + 0.1 for name, value in encoder.initial(generator).items()}
    layers: list[nn.Module] = []
    for index, block in enumerate(encoder.blocks):
        linear = nn.Linear(4 if index == 0 else 6, 6)
        linear.load_state_dict({"weight": params[f"{block}weight"], "bias": params[f"{block}bias"]})
        layers += [linear, nn.ReLU() if activation == "relu" else nn.Softplus(beta=4)]
    vectors = torch.randn(7, 4, generator=generator)
    assert distance(encoder(params, vectors, FROZEN), nn.Sequential(*layers)(vectors)) < 1e-6


def test_shapes_are_known_without_running_it() -> None:
    encoder = Mlp(inputs=4, width=6, layers=2)
    assert (encoder.input_shape, encoder.embedding, encoder.norm) == ((4,), 6, "none")
    assert encoder.blocks == ("encoder.layer1.", "encoder.layer2.")


@pytest.mark.parametrize("options", [{"inputs": 0}, {"inputs": 3, "width": 0}, {"inputs": 3, "layers": 0}])
def test_sizes_that_cannot_be_built_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected positive sizes"):
        Mlp(**options)
