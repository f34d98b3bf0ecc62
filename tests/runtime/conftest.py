"""Fixtures of the tests of the runtime."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from torch import Tensor

from service.learner.batched_bodies import adapt_bodies, embed_bodies
from service.learner.episodes import Support
from service.learner.meta_model import Adapted, MetaModel
from service.learner.parameters import Params
from service.runtime import bodies


@dataclass(frozen=True, slots=True)
class Stacks:
    """How many sessions each stack had that was adapted, or embedded."""

    adapted: list[int] = field(default_factory=list)
    embedded: list[int] = field(default_factory=list)


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> Stacks:
    """What is stacked during a test."""
    seen = Stacks()

    def adapting(model: MetaModel, supports: Sequence[Support], steps: int) -> list[Adapted]:
        seen.adapted.append(len(supports))
        return adapt_bodies(model, supports, steps)

    def embedding(model: MetaModel, own: Params, inputs: Tensor) -> Tensor:
        seen.embedded.append(len(inputs))
        return embed_bodies(model, own, inputs)

    monkeypatch.setattr(bodies, "adapt_bodies", adapting)
    monkeypatch.setattr(bodies, "embed_bodies", embedding)
    return seen
