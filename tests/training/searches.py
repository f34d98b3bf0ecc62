"""Tiny searches: the configuration of `runs`, without what only slows it down."""

from pathlib import Path

from service.training.search_space import SearchSpace, read_search_space

CONFIG = """
name = "tiny"
seed = 3
threads = 1

[data]
source = "glyphs"
classes = 10
drawings = 5
rotations = false

[preprocessing]
size = 16

[encoder]
kind = "conv4"
width = 4
size = 16

[[stages]]
steps = 8
way = [3, 4]
queries = 2

[validation]
every = 2
episodes = 20
way = 4
queries = 2

[calibration]
ways = [3]
shots = [1]
queries = 50

[final]
ways = [3]
shots = [1]
queries = 2
episodes = 8

[search]
"optimiser.learning_rate" = { low = 1e-6, high = 1e-2, log = true }
encoder.width = { choices = [4, 6] }
stages.0.way = { choices = [[3, 4], [2, 5]] }
recipe.steps_default = { low = 0, high = 3 }
"""

META_STEPS = 8

# Both ends of the range go together with a width of 8, three groups do not.
GROUPS = CONFIG.replace("width = 4", 'width = 8\nnorm = "group"\ngroups = 2').replace(
    "encoder.width = { choices = [4, 6] }", "encoder.groups = { low = 2, high = 4 }"
)


def written(folder: Path, text: str = CONFIG) -> Path:
    path = folder / "search.toml"
    path.write_text(text, encoding="utf-8")
    return path


def space_in(folder: Path, text: str = CONFIG) -> SearchSpace:
    return read_search_space(written(folder, text))
