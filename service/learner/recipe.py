"""A recipe says how the inner loop adapts: a value, stored in the manifest, never code."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from service.learner.views import MOST_VIEWS

Scope = Literal["head", "last_block", "body", "all", "context"]
HeadKind = Literal["prototype", "zero", "shared", "per_class", "ridge", "discriminant", "output"]
Rates = Literal["one", "per_layer", "per_layer_and_step", "per_parameter"]
OptimiserKind = Literal["sgd", "adam"]

SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one task is adapted, from the meta-learned initialisation.

    Attributes:
        scope: which parameters the inner loop moves. `context` moves the encoder's context parameters and nothing else
            (Zintgraf et al. 2019).
        head: how the head starts. `prototype` is the class means of the embeddings (Triantafillou et al. 2020),
            `zero` is all zeros (Kao et al. 2022), `shared` one learned row for every class (Ye and Chao 2022),
            `per_class` learned rows for one way (Finn et al. 2017), `ridge` the ridge regression onto the labels (Bertinetto et
            al. 2019), `discriminant` a linear discriminant on standardised embeddings (see `heads.discriminant_head`); `output` is
            learned rows for regression, a row a number.
        rates: one step size for everything, or one for each layer, each layer at each step, or each number that moves.
        learn_rates: the step sizes are meta-learned (as their logarithms).
        step_size: the step size that meta-training starts from.
        way: the only way that a `per_class` head serves, or how many numbers an `output` head predicts; None for the other heads.
        optimiser: of the inner loop: gradient descent, or Adam without a first moment, as Reptile takes it.
        support_batch: examples an inner step sees, in turn, every class alike; 0 sees all of them at each step.
        proximal: λ of the term λ/2·‖θ − start‖² in the support loss (Rajeswaran et al. 2019).
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
    optimiser: OptimiserKind = "sgd"
    support_batch: int = 0
    proximal: float = 0.0
    steps_default: int = 0
    steps_max: int = 0
    views: int = 1

    def __post_init__(self) -> None:
        """Refuse combinations that cannot learn; raises ValueError."""
        self._check_numbers()
        self._check_head()
        if self.rates == "per_layer_and_step" and not (self.learn_rates and self.steps_default):
            raise ValueError("rates for each step are learned for the default steps; expected learn_rates and steps_default >= 1")
        if self.optimiser == "adam" and self.learn_rates:
            raise ValueError("adam sets the step of every number itself; expected learn_rates = false, or optimiser `sgd`")

    def _check_numbers(self) -> None:
        if not 0 <= self.steps_default <= self.steps_max:
            raise ValueError(f"expected 0 <= steps_default <= steps_max, got {self.steps_default} and {self.steps_max}")
        if not 1 <= self.views <= MOST_VIEWS:
            raise ValueError(f"expected 1 to {MOST_VIEWS} views, got {self.views}")
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"expected a positive, finite step_size, got {self.step_size}")
        if self.support_batch < 0 or not 0 <= self.proximal < math.inf:
            raise ValueError(f"expected no negative support_batch and proximal, got {self.support_batch} and {self.proximal}")

    def _check_head(self) -> None:
        if (self.head in ("per_class", "output")) != (self.way is not None):
            raise ValueError(f"expected `way` for a head of learned rows and only there, got head {self.head!r} and way {self.way}")
        if self.head in ("ridge", "discriminant") and (self.scope != "head" or self.steps_max):
            raise ValueError(f"a {self.head} head is solved for, not stepped to; expected scope `head` and no inner steps")
        if self.head in ("zero", "shared") and self.scope in ("body", "last_block", "context"):
            raise ValueError(
                f"a {self.head} head gives the body no gradient while its rows are equal; use scope `head` or `all`, or another head"
            )
        if self.head in ("zero", "shared") and self.scope == "all" and self.steps_default < 2:
            raise ValueError(
                f"a {self.head} head moves the body only from the second step on; expected steps_default >= 2, got {self.steps_default}"
            )

    @property
    def moves_body(self) -> bool:
        """Whether adapted weights hold more than a head."""
        return self.scope != "head"

    @property
    def moves_head(self) -> bool:
        """Whether the inner loop changes the head it starts from."""
        return self.scope not in ("body", "context")

    @property
    def regression(self) -> bool:
        """Whether it predicts numbers rather than classes."""
        return self.head == "output"

    @property
    def standardises(self) -> bool:
        """Whether embeddings are told apart in units of their spread in the support set: the numbers of a table have units of their own."""
        return self.head == "discriminant"

    @property
    def closed_form(self) -> bool:
        """Whether many tasks are adapted in batched products, see `batched_heads`: a softmax head, plain gradient descent."""
        plain = self.optimiser == "sgd" and not self.support_batch and not self.proximal
        return not self.moves_body and not self.regression and plain
