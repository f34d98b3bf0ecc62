"""What the encoders of pictures share whose embedding is a learned projection of their features."""

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.encoder import he_normal
from service.learner.parameters import Params

PROJECTION = "encoder.projection."


class ProjectedPictures:
    """An encoder of square pictures that ends in a projection; a base of frozen values, it holds nothing itself.

    With `unit`, embeddings are scaled to the length √projection, so that their distances tell angles.
    """

    __slots__ = ()

    channels: int
    size: int
    projection: int
    unit: bool

    @property
    def embedding(self) -> int:
        return self.projection

    @property
    def context(self) -> int:
        return 0

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (self.channels, self.size, self.size)

    def _initial_projection(self, features: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {f"{PROJECTION}weight": he_normal((self.projection, features), generator)}

    def _projected(self, params: Params, features: Tensor) -> Tensor:
        """Give embeddings [N, projection] of features [N, ...]."""
        values = F.linear(features.flatten(1), params[f"{PROJECTION}weight"])
        return F.normalize(values, dim=1) * self.projection**0.5 if self.unit else values
