"""Every algorithm of the family: one recipe, one outer rule, and its paper."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.learner.outer_rules import QueryGradient
from service.learner.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Preset:
    """A named algorithm."""

    recipe: Recipe
    outer_rule: QueryGradient
    paper: str


PRESETS: Mapping[str, Preset] = {
    "protonet": Preset(
        Recipe(scope="head", head="prototype", steps_default=0, steps_max=0),
        QueryGradient(order=1),
        "Snell, Swersky and Zemel (2017), Prototypical networks for few-shot learning, arXiv:1703.05175",
    ),
    "proto-anil": Preset(
        Recipe(scope="head", head="prototype", rates="per_layer", learn_rates=True, step_size=50.0, steps_default=5, steps_max=20),
        QueryGradient(order=2, step_weights="first_and_last"),
        "Triantafillou et al. (2020), Meta-Dataset, arXiv:1903.03096 (prototype head);"
        " Raghu et al. (2020), Rapid learning or feature reuse?, arXiv:1909.09157 (head-only inner loop)",
    ),
    "maml": Preset(
        Recipe(scope="all", head="per_class", way=5, step_size=0.4, steps_default=3, steps_max=10),
        QueryGradient(order=2),
        "Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, arXiv:1703.03400",
    ),
    "fomaml": Preset(
        Recipe(scope="all", head="per_class", way=5, step_size=0.4, steps_default=3, steps_max=10),
        QueryGradient(order=1),
        "Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, arXiv:1703.03400, section 5.2 (first order)",
    ),
}
