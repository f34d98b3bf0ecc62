"""A multilayer perceptron, for inputs that are vectors of numbers."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.encoder import Activation, Normalise, activate, he_normal
from service.learner.parameters import Params


@dataclass(frozen=True, slots=True)
class Mlp:
    """Hidden layers of equal width; the last one is the embedding.

    Attributes:
        inputs: length of an input vector.
        width: units of every hidden layer, and length of the embedding.
        layers: how many hidden layers.
    """

    inputs: int
    width: int = 64
    layers: int = 2
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built; raises ValueError."""
        if min(self.inputs, self.width, self.layers) < 1:
            raise ValueError(f"expected positive sizes, got inputs {self.inputs}, width {self.width}, layers {self.layers}")

    @property
    def norm(self) -> Literal["none"]:
        return "none"

    @property
    def embedding(self) -> int:
        return self.width

    @property
    def input_shape(self) -> tuple[int]:
        return (self.inputs,)

    @property
    def blocks(self) -> tuple[str, ...]:
        return tuple(f"encoder.layer{index + 1}." for index in range(self.layers))

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        params: dict[str, Tensor] = {}
        for index, layer in enumerate(self.blocks):
            params[f"{layer}weight"] = he_normal((self.width, self.inputs if index == 0 else self.width), generator)
            params[f"{layer}bias"] = torch.zeros(self.width)
        return params

    def __call__(self, params: Params, inputs: Tensor, normalise: Normalise) -> Tensor:  # noqa: ARG002 - has no layer to normalise
        values = inputs.to(params["encoder.layer1.weight"].dtype)
        for layer in self.blocks:
            values = activate(self.activation, F.linear(values, params[f"{layer}weight"], params[f"{layer}bias"]))
        return values
