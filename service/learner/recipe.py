"""A recipe says how the inner loop adapts: a value, stored in the manifest, never code."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from service.learner.views import MOST_VIEWS

Scope = Literal["head", "last_block", "body", "all"]
HeadKind = Literal["prototype", "zero", "per_class"]
Rates = Literal["one", "per_layer"]

SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one task is adapted, from the meta-learned initialisation.

    Attributes:
        scope: which parameters the inner loop moves.
        head: how the head starts. `prototype` is the class means of the embeddings (Triantafillou et al. 2020),
            `zero` is all zeros (Kao et al. 2022), `per_class` is meta-learned rows for one way (Finn et al. 2017).
        rates: one step size for everything, or one for each layer.
        learn_rates: the step sizes are meta-learned (as their logarithms).
        step_size: the step size that meta-training starts from.
        way: the only way a `per_class` head serves; None for the other heads.
        steps_default: inner steps when the caller names none.
        steps_max: the most inner steps a caller may ask for.
        views: how many fixed views of every support picture are adapted to (see `views`), when serving
            and judging; meta-training sees the picture alone.
    """

    scope: Scope = "head"
    head: HeadKind = "prototype"
    rates: Rates = "one"
    learn_rates: bool = False
    step_size: float = 0.1
    way: int | None = None
    steps_default: int = 0
    steps_max: int = 0
    views: int = 1

    def __post_init__(self) -> None:
        """Refuse combinations that cannot learn; raises ValueError."""
        if not 0 <= self.steps_default <= self.steps_max:
            raise ValueError(f"expected 0 <= steps_default <= steps_max, got {self.steps_default} and {self.steps_max}")
        if (self.head == "per_class") != (self.way is not None):
            raise ValueError(f"expected `way` for a per_class head and only there, got head {self.head!r} and way {self.way}")
        if self.head == "zero" and self.scope in ("body", "last_block"):
            raise ValueError("a zero head gives the body no gradient while its rows are equal; use scope `head` or `all`, or another head")
        if self.head == "zero" and self.scope == "all" and self.steps_default < 2:
            raise ValueError(
                f"a zero head moves the body only from the second step on; expected steps_default >= 2, got {self.steps_default}"
            )
        if not 1 <= self.views <= MOST_VIEWS:
            raise ValueError(f"expected 1 to {MOST_VIEWS} views, got {self.views}")
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"expected a positive, finite step_size, got {self.step_size}")

    @property
    def moves_body(self) -> bool:
        """Whether adapted weights hold more than a head."""
        return self.scope != "head"
