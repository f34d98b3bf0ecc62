"""A multilayer perceptron, for inputs that are vectors of numbers."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.encoder import CONTEXT, Activation, Normalise, activate, he_normal
from service.learner.parameters import Params


@dataclass(frozen=True, slots=True)
class Mlp:
    """Hidden layers of equal width; the last one is the embedding.

    Attributes:
        inputs: length of an input vector.
        width: units of every hidden layer, and length of the embedding.
        layers: how many hidden layers.
        context: context parameters, which the first layer reads beside the input (Zintgraf et al. 2019, arXiv:1810.03642).
    """

    inputs: int
    width: int = 64
    layers: int = 2
    activation: Activation = "relu"
    context: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built; raises ValueError."""
        if min(self.inputs, self.width, self.layers) < 1:
            raise ValueError(f"expected positive sizes, got inputs {self.inputs}, width {self.width}, layers {self.layers}")
        if self.context < 0:
            raise ValueError(f"expected no negative context, got {self.context}")

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
        if self.context:
            params["encoder.layer1.context.weight"] = he_normal((self.width, self.context), generator)
        return params

    def __call__(self, params: Params, inputs: Tensor, normalise: Normalise) -> Tensor:  # noqa: ARG002 - has no layer to normalise
        values = inputs.to(params["encoder.layer1.weight"].dtype)
        for layer in self.blocks:
            values = activate(self.activation, F.linear(values, params[f"{layer}weight"], self._bias(layer, params)))
        return values

    def _bias(self, layer: str, params: Params) -> Tensor:
        """Give a layer's bias; the first one's is moved by the context parameters, as if they stood beside every input."""
        bias = params[f"{layer}bias"]
        listens = layer == self.blocks[0] and CONTEXT in params
        return bias + params[f"{layer}context.weight"] @ params[CONTEXT] if listens else bias
