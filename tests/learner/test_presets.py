import pytest

from service.learner.outer_rules import QueryGradient
from service.learner.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_carries_its_paper(name: str) -> None:
    assert "arXiv:" in PRESETS[name].paper


def test_the_default_preset_refines_prototypes_with_learned_rates_through_second_order() -> None:
    preset = PRESETS["proto-anil"]
    assert (preset.recipe.scope, preset.recipe.head, preset.recipe.learn_rates) == ("head", "prototype", True)
    assert preset.outer_rule == QueryGradient(order=2, step_weights="first_and_last")


def test_protonet_takes_no_steps() -> None:
    assert (PRESETS["protonet"].recipe.steps_default, PRESETS["protonet"].recipe.steps_max) == (0, 0)


def test_fomaml_is_maml_at_the_first_order() -> None:
    maml, fomaml = PRESETS["maml"], PRESETS["fomaml"]
    assert fomaml.recipe == maml.recipe
    assert (maml.outer_rule, fomaml.outer_rule) == (QueryGradient(order=2), QueryGradient(order=1))


@pytest.mark.parametrize("name", PRESETS)
def test_every_presets_rule_has_a_meta_gradient_for_its_recipe(name: str) -> None:
    PRESETS[name].outer_rule.require_fitting(PRESETS[name].recipe)
