import math
from typing import Any

import pytest

from service.learner.recipe import SCOPES, Recipe


@pytest.mark.parametrize(
    ("impossible", "says"),
    [
        ({"steps_default": 3, "steps_max": 2}, "steps_default <= steps_max"),
        ({"steps_default": -1}, "0 <= steps_default"),
        ({"head": "per_class"}, "`way`"),
        ({"head": "prototype", "way": 5}, "`way`"),
        ({"head": "zero", "way": 5}, "`way`"),
        ({"head": "zero", "scope": "body", "steps_default": 3, "steps_max": 3}, "no gradient"),
        ({"head": "zero", "scope": "last_block", "steps_default": 3, "steps_max": 3}, "no gradient"),
        ({"head": "zero", "scope": "all", "steps_default": 1, "steps_max": 3}, "steps_default >= 2"),
        ({"head": "shared", "scope": "body", "steps_default": 3, "steps_max": 3}, "no gradient"),
        ({"head": "output"}, "`way`"),
        ({"head": "ridge", "steps_default": 1, "steps_max": 1}, "no inner steps"),
        ({"head": "discriminant", "steps_max": 1}, "a discriminant head is solved for"),
        ({"head": "ridge", "scope": "all"}, "expected scope `head`"),
        ({"rates": "per_layer_and_step", "steps_default": 3, "steps_max": 3}, "learn_rates"),
        ({"optimiser": "adam", "learn_rates": True}, "adam"),
        ({"support_batch": -1}, "no negative support_batch"),
        ({"proximal": math.nan}, "no negative support_batch and proximal"),
        ({"step_size": 0.0}, "positive, finite step_size"),
        ({"step_size": -0.1}, "positive, finite step_size"),
        ({"step_size": math.nan}, "positive, finite step_size"),
        ({"step_size": math.inf}, "positive, finite step_size"),
    ],
)
def test_what_cannot_learn_is_refused(impossible: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Recipe(**impossible)


@pytest.mark.parametrize(
    "possible",
    [
        {"head": "zero", "scope": "head"},
        {"head": "zero", "scope": "all", "steps_default": 2, "steps_max": 2},
        {"head": "per_class", "way": 5, "scope": "body"},
        {"head": "prototype", "scope": "last_block"},
    ],
)
def test_what_can_learn_is_accepted(possible: dict[str, Any]) -> None:
    assert all(getattr(Recipe(**possible), name) == value for name, value in possible.items())


def test_every_scope_but_head_moves_the_body() -> None:
    assert [scope for scope in SCOPES if not Recipe(scope=scope).moves_body] == ["head"]
