from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import BadConfigError
from service.learner.encoders.conv4 import Conv4
from service.learner.presets import PRESETS
from service.training.options import TrainOptions, read_options
from tests.training.runs import PER_CLASS, tiny_options

CONFIGS = Path(__file__).parents[2] / "configs"

MINIMAL = """
name = "mine"

[data]
source = "glyphs"

[encoder]
kind = "conv4"

[[stages]]
steps = 10
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def assert_refused(path: Path, *said: str) -> None:
    with pytest.raises(BadConfigError) as refusal:
        read_options(path)
    message = refusal.value.message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in said:
        assert part in message


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_every_committed_configuration_is_valid(config: Path) -> None:
    options = read_options(config)
    assert options.name == config.stem
    assert options.build_recipe().steps_default <= options.build_recipe().steps_max


def test_every_preset_has_a_committed_configuration_of_its_family() -> None:
    options = {path.stem: read_options(path) for path in (CONFIGS / "family").glob("*.toml")}
    assert {stem: each.preset for stem, each in options.items()} == {preset: preset for preset in PRESETS}
    split = {each.data.model_dump_json() for each in options.values()}
    assert len(split) == 1


def test_a_minimal_configuration_is_the_default_preset(tmp_path: Path) -> None:
    options = read_options(written(tmp_path, MINIMAL))
    assert options.build_recipe() == PRESETS["proto-anil"].recipe
    assert options.build_encoder() == Conv4()
    assert options.meta_steps == 10


def test_a_recipe_is_the_presets_with_the_files_changes(tmp_path: Path) -> None:
    options = read_options(written(tmp_path, MINIMAL + "[recipe]\nsteps_max = 50\nstep_size = 3\n"))
    recipe, preset = options.build_recipe(), PRESETS["proto-anil"].recipe
    assert (recipe.steps_max, recipe.step_size, type(recipe.step_size)) == (50, 3.0, float)
    assert (recipe.scope, recipe.head, recipe.steps_default) == (preset.scope, preset.head, preset.steps_default)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + "[optimizer]\n", ["no key 'optimizer'", "'optimiser'"]),
        (MINIMAL + "[optimiser]\nlr = 1.0\n", ["optimiser: no key 'lr'", "'learning_rate'"]),
        (MINIMAL + "shots = 5\n", ["stages.0: no key 'shots'", "'shot'"]),
        (MINIMAL.replace('"glyphs"', '"glyphs"\nsplit = "background"'), ["data.glyphs: no key 'split'", "'drawings'"]),
        (MINIMAL.replace('"glyphs"', '"imagenet"'), ["data: ", "'imagenet'", "'omniglot', 'glyphs', 'folder'"]),
        (MINIMAL.replace('"glyphs"', '"omniglot"\nsplit = "lake"'), ["data.omniglot.split", "'background' or 'vinyals'"]),
        (MINIMAL + "[preprocessing]\nsice = 28\n", ["preprocessing.sice"]),
        (MINIMAL + "[recipe]\nsteps = 5\n", ["[recipe] has no key steps", "'steps_default'"]),
        (MINIMAL + '[recipe]\nscope = "everything"\n', ["[recipe] scope", "'head', 'last_block', 'body', 'all' or 'context'"]),
        (
            MINIMAL + '[recipe]\nhead = "linear"\n',
            ["[recipe] head", "'prototype', 'zero', 'shared', 'per_class', 'ridge', 'discriminant' or 'output'"],
        ),
        (MINIMAL + '[recipe]\nsteps_max = "ten"\n', ["[recipe] steps_max", "integer"]),
        (MINIMAL + "[recipe]\nsteps_max = 1\n", ["[recipe]", "steps_default <= steps_max, got 5 and 1"]),
        (MINIMAL.replace('"conv4"', '"conv4"\nwidht = 32'), ["'conv4' has no option widht", "'width'"]),
        (MINIMAL.replace('"conv4"', '"conv4"\nnorm = "layer"'), ["norm", "'batch', 'group', 'task', 'none'"]),
        (
            MINIMAL.replace('"conv4"', '"conv5"'),
            ["'conv5'", "['conv4', 'identity', 'mlp', 'residual', 'resnet12', 'torchvision:<network>']"],
        ),
        ('preset = "mamal"\n' + MINIMAL, ["'mamal'", "'fomaml', 'imaml', 'maml', 'maml++'"]),
        (MINIMAL.replace('"mine"', '"My Model"'), ["name: ", "pattern"]),
        (MINIMAL.replace("steps = 10", "steps = 0"), ["stages.0.steps", "greater than or equal to 1"]),
        (MINIMAL + "way = [20, 5]\n", ["stages.0: expected way = [low, high] with 2 <= low <= high, got [20, 5]"]),
        (MINIMAL + "turns = true\nuneven = true\n", ["stages.0: turns need every class to have the same number of examples"]),
        (MINIMAL + "turns = true\nshot = [1, 5]\n", ["stages.0: turns need every class to have the same number of examples"]),
        (MINIMAL + "grouped = 1.5\n", ["stages.0.grouped", "less than or equal to 1"]),
        (MINIMAL + "[recipe]\nviews = 10\n", ["[recipe] expected 1 to 9 views, got 10"]),
        ('precision = "float16"\n' + MINIMAL, ["precision", "'float32' or 'bfloat16'"]),
        (MINIMAL.replace('"glyphs"', '"glyphs"\noversample = 0'), ["data.glyphs.oversample", "greater than or equal to 1"]),
        (MINIMAL + "shot = [0, 5]\n", ["stages.0: expected shot = [low, high] with 1 <= low <= high, got [0, 5]"]),
        (MINIMAL + "[optimiser]\nlearning_rate = nan\n", ["optimiser.learning_rate"]),
        (MINIMAL + "[optimiser]\nlearning_rate = inf\n", ["optimiser.learning_rate"]),
        (MINIMAL + "[final]\nways = []\n", ["final.ways"]),
        (MINIMAL.split("[[stages]]")[0], ["expected one [[stages]] table at least", "'protonet'", "[pretraining]"]),
        (MINIMAL.split("[[stages]]")[0] + "[pretraining]\nsteps = 5\n", ["expected one [[stages]] table at least"]),
        (MINIMAL + '[pretraining]\nclassifier = "softmax"\n', ["pretraining.classifier", "'cosine' or 'linear'"]),
        (MINIMAL + "[pretraining]\nbatches = 5\n", ["pretraining: no key 'batches'", "'batch'"]),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(text: str, said: list[str], tmp_path: Path) -> None:
    assert_refused(written(tmp_path, text), *said)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    assert_refused(
        written(tmp_path, MINIMAL + "[optimiser]\nlearning_rate = -1\n[validation]\nevery = 0\n"), "learning_rate", "; validation"
    )


def test_a_file_that_is_not_there_or_not_toml_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "absent.toml", "cannot be read", "check the path")
    assert_refused(written(tmp_path, "name = "), "not TOML")
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    assert_refused(tmp_path / "config.toml", "not TOML")


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        tiny_options(**changes)
    return str(refused.value)


@pytest.mark.parametrize("preset", ["maml", "reptile", "meta-sgd", "zero-head"])
def test_a_stage_without_an_inner_step_is_refused_where_nothing_would_be_learned_of_a_task(preset: str) -> None:
    stages = [{"steps": 2, "way": [5, 5], "queries": 2}]
    assert "[[stages]] 1 has no inner step" in refusal(**{**PER_CLASS, "preset": preset, "stages": stages})


@pytest.mark.parametrize(("preset", "steps", "most"), [("maml", 11, 10), ("protonet", 1, 0), ("r2d2", 2, 0)])
def test_a_stage_of_more_inner_steps_than_the_recipe_allows_is_refused(preset: str, steps: int, most: int) -> None:
    stages = [{"steps": 2, "way": [5, 5], "queries": 2, "inner_steps": steps}]
    assert f"inner_steps = {steps}, of which the recipe allows {most} at most" in refusal(
        **{**PER_CLASS, "preset": preset, "stages": stages}
    )


@pytest.mark.parametrize("scope", ["last_block", "body", "all"])
def test_moving_the_body_in_bfloat16_is_refused(scope: str) -> None:
    said = f"expected float32 with scope '{scope}'"
    assert said in refusal(recipe={"scope": scope}, encoder=PER_CLASS["encoder"], precision="bfloat16")


@pytest.mark.parametrize("scope", ["last_block", "body", "all"])
def test_moving_the_body_on_batch_norm_is_refused_and_on_group_norm_it_is_not(scope: str) -> None:
    assert "use norm = 'group' or 'task' in [encoder], or scope = 'head'" in refusal(recipe={"scope": scope})
    tiny_options(recipe={"scope": scope}, encoder=PER_CLASS["encoder"])


@pytest.mark.parametrize("preset", ["maml", "fomaml"])
def test_a_preset_that_moves_the_body_on_batch_norm_is_refused(preset: str) -> None:
    assert "moves the body, and batch norm's frozen statistics" in refusal(
        preset=preset, **{**PER_CLASS, "encoder": {"kind": "conv4", "size": 16}}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": [{"steps": 2, "way": [4, 5], "queries": 2}]},
        {"stages": [*PER_CLASS["stages"], {"steps": 2, "way": [10, 10], "queries": 2}]},
        {"validation": {"way": 20}},
        {"final": {"ways": [20]}},
    ],
)
def test_a_per_class_head_is_only_ever_asked_for_its_own_way(changes: dict[str, Any]) -> None:
    tiny_options(preset="maml", **PER_CLASS)
    assert "a per_class head serves 5 classes only" in refusal(preset="maml", **{**PER_CLASS, **changes})


def test_preprocessing_must_give_what_the_encoder_takes() -> None:
    assert "[preprocessing] gives inputs of shape (1, 28, 28), but [encoder] takes (1, 16, 16)" in refusal(preprocessing={})
    assert "but [encoder] takes (3, 16, 16)" in refusal(encoder={"kind": "conv4", "size": 16, "channels": 3})


def test_every_meta_step_has_its_stage() -> None:
    options = tiny_options()
    assert [options.stages.index(options.stage_at(step)) for step in range(options.meta_steps)] == [0] * 4 + [1] * 5
    with pytest.raises(ValueError, match="beyond the last stage"):
        options.stage_at(options.meta_steps)


def test_options_cannot_be_changed() -> None:
    options: Any = tiny_options()
    with pytest.raises(ValidationError, match="frozen"):
        options.seed = 9


def test_a_configuration_survives_its_own_json() -> None:
    """It is stored in the manifest."""
    options = tiny_options()
    assert TrainOptions.model_validate(options.model_dump(mode="json")) == options
