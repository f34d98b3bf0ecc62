"""Every algorithm of the family: one recipe, one outer rule, and its paper."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.learner.outer_rules import Displacement, ImplicitGradient, OuterRule, QueryGradient
from service.learner.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Preset:
    """A named algorithm."""

    recipe: Recipe
    outer_rule: OuterRule
    paper: str


_MAML = "Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, arXiv:1703.03400"
_ANIL = "Raghu et al. (2020), Rapid learning or feature reuse?, arXiv:1909.09157"
_PROTO_MAML = "Triantafillou et al. (2020), Meta-Dataset, arXiv:1903.03096"

# Where presets depart from their papers: learned step sizes are kept as logarithms, so that none is negative, and the rows of a head share
# theirs; distances have a learned factor (heads of class means); there are no statistics of batches, per step or otherwise, but the
# encoder's norm (MAML, MAML++); Adam's second moment starts anew with every task (Reptile, whose outer step is the configuration's).
PRESETS: Mapping[str, Preset] = {
    "protonet": Preset(
        Recipe(scope="head", head="prototype", steps_default=0, steps_max=0),
        QueryGradient(order=1),
        "Snell, Swersky and Zemel (2017), Prototypical networks for few-shot learning, arXiv:1703.05175",
    ),
    "proto-anil": Preset(
        Recipe(scope="head", head="prototype", rates="per_layer", learn_rates=True, step_size=50.0, steps_default=5, steps_max=20),
        QueryGradient(order=2, step_weights="first_and_last"),
        f"{_PROTO_MAML} (prototype head); {_ANIL} (head-only inner loop)",
    ),
    "anil": Preset(
        Recipe(scope="head", head="per_class", way=5, step_size=0.1, steps_default=5, steps_max=10),
        QueryGradient(order=2),
        _ANIL,
    ),
    "r2d2": Preset(
        Recipe(scope="head", head="ridge", steps_default=0, steps_max=0),
        QueryGradient(order=1),
        "Bertinetto, Henriques, Torr and Vedaldi (2019), Meta-learning with differentiable closed-form solvers, arXiv:1805.08136",
    ),
    "boil": Preset(
        Recipe(scope="body", head="per_class", way=5, step_size=0.5, steps_default=1, steps_max=10),
        QueryGradient(order=2),
        "Oh, Yoo, Kim and Yun (2021), BOIL: towards representation change for few-shot learning, arXiv:2008.08882",
    ),
    "maml": Preset(
        Recipe(scope="all", head="per_class", way=5, step_size=0.4, steps_default=3, steps_max=10),
        QueryGradient(order=2),
        _MAML,
    ),
    "fomaml": Preset(
        Recipe(scope="all", head="per_class", way=5, step_size=0.4, steps_default=3, steps_max=10),
        QueryGradient(order=1),
        f"{_MAML}, section 5.2 (first order)",
    ),
    "reptile": Preset(
        Recipe(scope="all", head="per_class", way=5, optimiser="adam", step_size=1e-3, support_batch=10, steps_default=5, steps_max=50),
        Displacement(),
        "Nichol, Achiam and Schulman (2018), On first-order meta-learning algorithms, arXiv:1803.02999",
    ),
    "meta-sgd": Preset(
        Recipe(
            scope="all", head="per_class", way=5, rates="per_parameter", learn_rates=True, step_size=0.05, steps_default=1, steps_max=10
        ),
        QueryGradient(order=2),
        "Li, Zhou, Chen and Li (2017), Meta-SGD: learning to learn quickly for few-shot learning, arXiv:1707.09835",
    ),
    "maml++": Preset(
        Recipe(
            scope="all", head="per_class", way=5, rates="per_layer_and_step", learn_rates=True, step_size=0.1, steps_default=5, steps_max=10
        ),
        QueryGradient(order=2, step_weights="annealed", first_order_until=0.3),
        "Antoniou, Edwards and Storkey (2019), How to train your MAML, arXiv:1810.09502",
    ),
    "imaml": Preset(
        Recipe(scope="all", head="per_class", way=5, step_size=0.1, proximal=2.0, steps_default=16, steps_max=25),
        ImplicitGradient(solver_steps=5),
        "Rajeswaran, Finn, Kakade and Levine (2019), Meta-learning with implicit gradients, arXiv:1909.04630",
    ),
    "proto-maml": Preset(
        Recipe(scope="all", head="prototype", rates="per_layer", learn_rates=True, step_size=0.01, steps_default=3, steps_max=10),
        QueryGradient(order=2),
        f"{_PROTO_MAML}, section 3 (Proto-MAML)",
    ),
    "zero-head": Preset(
        Recipe(scope="all", head="zero", step_size=0.1, steps_default=5, steps_max=10),
        QueryGradient(order=2),
        "Kao, Chiu and Chen (2022), MAML is a noisy contrastive learner, arXiv:2106.15367 (the zeroing trick)",
    ),
    "unicorn-maml": Preset(
        Recipe(scope="all", head="shared", step_size=0.1, steps_default=5, steps_max=10),
        QueryGradient(order=2),
        "Ye and Chao (2022), How to train your MAML to excel in few-shot classification, arXiv:2106.16245",
    ),
    "cavia": Preset(
        Recipe(scope="context", head="per_class", way=5, step_size=1.0, steps_default=2, steps_max=10),
        QueryGradient(order=2),
        "Zintgraf et al. (2019), Fast context adaptation via meta-learning, arXiv:1810.03642;"
        " Perez et al. (2018), FiLM, arXiv:1709.07871 (how pictures listen to the context)",
    ),
}
