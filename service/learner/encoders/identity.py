"""No encoder at all, for vectors whose numbers are told apart as they are: the columns of a table."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from service.learner.encoders.encoder import Normalise, require_positive
from service.learner.parameters import Params


@dataclass(frozen=True, slots=True)
class Identity:
    """The vector is its own embedding; nothing is learned.

    Attributes:
        width: numbers of an input, and length of the embedding; shorter vectors come with zeros behind them.
    """

    width: int = 256

    def __post_init__(self) -> None:
        """Refuse a width that cannot be built; raises ValueError."""
        require_positive(width=self.width)

    @property
    def norm(self) -> Literal["none"]:
        return "none"

    @property
    def context(self) -> int:
        return 0

    @property
    def embedding(self) -> int:
        return self.width

    @property
    def input_shape(self) -> tuple[int]:
        return (self.width,)

    @property
    def blocks(self) -> tuple[str, ...]:
        return ()

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:  # noqa: ARG002 - one signature for every encoder
        return {}

    def __call__(self, params: Params, inputs: Tensor, normalise: Normalise) -> Tensor:  # noqa: ARG002 - has no layers
        return inputs
