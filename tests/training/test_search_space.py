from pathlib import Path
from typing import Any

import pytest

from service.errors import BadConfigError
from service.training.options import options_of, read_table
from service.training.search_space import SEARCHED
from tests.training.searches import CONFIG, space_in, written

BASE, SEARCH = CONFIG.split("[search]\n")


def refusal(folder: Path, searched: str, base: str = BASE) -> str:
    with pytest.raises(BadConfigError) as refused:
        space_in(folder, f"{base}[search]\n{searched}\n")
    assert refused.value.message.startswith(f"{folder / 'search.toml'}: ")
    assert "\n" not in refused.value.message
    return refused.value.message


def test_keys_may_be_quoted_or_not(tmp_path: Path) -> None:
    quoted = BASE + '[search]\n"encoder.width" = { choices = [4, 6] }\n"stages.0.way" = { choices = [[3, 4]] }\n'
    nested = BASE + "[search.encoder]\nwidth = { choices = [4, 6] }\n[search.stages.0]\nway = { choices = [[3, 4]] }\n"
    assert space_in(tmp_path, quoted).dimensions == space_in(tmp_path, nested).dimensions


def test_what_is_drawn_stands_where_its_key_says_and_nothing_else_changes(tmp_path: Path) -> None:
    space = space_in(tmp_path)
    drawn = {"optimiser.learning_rate": 0.001, "encoder.width": "6", "stages.0.way": "[2, 5]", "recipe.steps_default": 2}
    table = space.table(space.values(drawn))
    expected: dict[str, Any] = read_table(written(tmp_path))
    del expected["search"]
    expected["encoder"]["width"] = 6
    expected["stages"][0]["way"] = [2, 5]
    expected |= {"optimiser": {"learning_rate": 0.001}, "recipe": {"steps_default": 2}}
    assert table == expected
    assert space.options_with(space.values(drawn)) == options_of(expected, place="")
    assert space.options.build_recipe().steps_default == 5  # the configuration itself is as it was


@pytest.mark.parametrize(
    ("searched", "said"),
    [
        ('"optimiser.lr" = { low = 0.1, high = 0.2 }', ["optimiser.lr = 0.1", "no key 'lr'", "'learning_rate'"]),
        ('"encoder.widht" = { choices = [4] }', ["encoder.widht = 4", "'conv4' has no option widht", "'width'"]),
        ('"recipe.steps" = { low = 1, high = 2 }', ["recipe.steps = 1", "[recipe] has no key steps", "'steps_default'"]),
        ('"stages.1.way" = { choices = [[2, 3]] }', ["search.stages.1.way", "a number from 0 to 0", "got '1'"]),
        ('"stages.way" = { choices = [[2, 3]] }', ["search.stages.way", "a number from 0 to 0", "got 'way'"]),
        ('"seed.x" = { choices = [1] }', ["search.seed.x", "expected a table at 'seed'"]),
        ('"validation.way" = { low = 2, high = 4 }', ["search.validation.way", *SEARCHED]),
        ('"data.split" = { choices = ["a"] }', ["search.data.split", *SEARCHED]),
        ('"encoder.width" = 4', ["search.encoder.width", "{ low, high, log } or { choices }", "got 4"]),
        ('"encoder.width" = { low = 4 }', ["search.encoder.width", "high: Field required"]),
        ('"encoder.width" = { low = 8, high = 4 }', ["search.encoder.width", "low < high, got 8 and 4"]),
        ('"encoder.width" = { low = 0, high = 4, log = true }', ["search.encoder.width", "a positive low"]),
        ('"encoder.width" = { choices = [] }', ["search.encoder.width: choices"]),
        ('"encoder.width" = { choices = [4], log = true }', ["search.encoder.width", "no key 'log'", "'choices'"]),
        ('"encoder.width" = { low = 1, high = 4, lgo = true }', ["search.encoder.width", "no key 'lgo'", "'log'"]),
        ('"encoder.width" = { choices = [4, "wide"] }', ["encoder.width = 'wide'", "width"]),
        ('"preset" = { choices = ["protonet", "reptile2"] }', ["preset = 'reptile2'", "expected a preset among", "'protonet'"]),
        ("", ["expected a table [search]"]),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_key_and_what_is_accepted(searched: str, said: list[str], tmp_path: Path) -> None:
    message = refusal(tmp_path, searched)
    for part in said:
        assert part in message


def test_values_that_do_not_go_together_are_refused_though_each_goes_with_the_configuration(tmp_path: Path) -> None:
    """Group norm and head scope serve either way, but a body that moves on batch norm does not."""
    searched = 'recipe.scope = { choices = ["head", "all"] }\nencoder.norm = { choices = ["group", "batch"] }'
    base = BASE.replace('kind = "conv4"', 'kind = "conv4"\ngroups = 2')
    message = refusal(tmp_path, searched, base)
    assert "with recipe.scope = 'all', encoder.norm = 'batch' from [search]" in message
    assert "use norm = 'group' or 'task' in [encoder]" in message
    space_in(tmp_path, base + "[search]\n" + searched.replace(', "batch"', ""))


def test_whole_ends_make_whole_numbers(tmp_path: Path) -> None:
    kinds = {key: type(each).__name__ for key, each in space_in(tmp_path).distributions.items()}
    assert kinds == {
        "optimiser.learning_rate": "FloatDistribution",
        "encoder.width": "CategoricalDistribution",
        "stages.0.way": "CategoricalDistribution",
        "recipe.steps_default": "IntDistribution",
    }
