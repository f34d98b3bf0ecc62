"""What requests ask of the device: to adapt, to embed, to predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from service.learner import heads
from service.learner.episodes import Support
from service.learner.parameters import Params
from service.learner.recipe import Recipe
from service.runtime.arena import Rows


@dataclass(frozen=True, slots=True)
class AdaptTask:
    """One support set to adapt to; its inputs are as the encoder reads them, on the CPU."""

    support: Support
    steps: int

    def items(self, recipe: Recipe) -> int:
        """Give how many inputs pass the encoder."""
        return recipe.views * len(self.support.labels)


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """Inputs [N, ...] on the CPU of which the embeddings are wanted, as adapted parameters give them, named by their digest."""

    params: Params
    digest: str
    inputs: Tensor

    def body(self, names: Sequence[str]) -> Rows:
        """Give the adapted parameters of these names as one row."""
        return Rows(self.digest, lambda: torch.cat([self.params[name].flatten() for name in names]).unsqueeze(0))

    def items(self, recipe: Recipe) -> int:  # noqa: ARG002 - as for adapting
        """Give how many inputs pass the encoder."""
        return len(self.inputs)


@dataclass(frozen=True, slots=True)
class Among:
    """The `count` nearest of embedded examples [N, D], on the CPU, are wanted for each query."""

    examples: Tensor
    count: int


@dataclass(frozen=True, slots=True)
class PredictTask:
    """Queries [M, ...] for one session's adapted parameters, named by their digest; the `top` likeliest classes of each are wanted.

    The logits are divided by `temperature` before they become scores.
    """

    params: Params
    digest: str
    queries: Tensor
    top: int
    temperature: float = 1.0
    nearest: Among | None = None

    def items(self, recipe: Recipe) -> int:  # noqa: ARG002 - as for adapting
        """Give how many inputs pass the encoder."""
        return len(self.queries)

    @property
    def head(self) -> Rows:
        """The adapted head."""
        return Rows(self.digest, partial(heads.rows, self.params))
