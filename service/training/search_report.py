"""What a search leaves for people: the best configuration, a table and a figure of all trials."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.training.search import Tried
from service.training.search_space import Choices, Range, SearchSpace

BEST, TABLE, FIGURE = "best.toml", "trials.md", "search.png"

COLUMNS, PANEL = 3, (4.5, 3.2)


def write_best(run: Path, space: SearchSpace, found: Tried) -> Path:
    """Write the configuration of a trial, whole or not at all, as `innerloop train` takes it; gives the file."""
    said = f"# Trial {found.number} of the search in {space.place}: {found.said} in validation.\n"
    temporary = run / f".{BEST}"
    temporary.write_text(said + tomli_w.dumps(space.table(found.values)), encoding="utf-8")
    return temporary.rename(run / BEST)


def write_table(run: Path, found: Sequence[Tried]) -> Path:
    """Write every finished trial, the best first, as a Markdown table; gives the file."""
    keys = list(found[0].values)
    ranked = sorted(found, key=lambda each: (each.pruned, -each.score))
    lines = [("trial", "validation", "meta-steps", "", *keys), ("---", "---:", "---:", "---", *(["---"] * len(keys))), *map(_row, ranked)]
    path = run / TABLE
    path.write_text("".join(f"| {' | '.join(cells)} |\n" for cells in lines), encoding="utf-8")
    return path


def _row(found: Tried) -> tuple[str, ...]:
    ended = "cut short" if found.pruned else ""
    return (str(found.number), found.said, f"{found.step:,}", ended, *(shown(value) for value in found.values.values()))


def shown(value: Any) -> str:
    """Give a value as a table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(run: Path, space: SearchSpace, found: Sequence[Tried]) -> Path:
    """Draw what validation measured of the trials one after the other, and against every searched key, as a PNG; gives the file."""
    rows = math.ceil((1 + len(space.dimensions)) / COLUMNS)
    figure = Figure(figsize=(COLUMNS * PANEL[0], rows * PANEL[1]), layout="constrained")
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False, sharey=True).flat)
    _draw_history(panels[0], found)
    for panel, (key, dimension) in zip(panels[1:], space.dimensions.items(), strict=False):
        _draw_key(panel, key, dimension, found)
    for panel in panels[1 + len(space.dimensions) :]:
        panel.set_visible(False)
    path = run / FIGURE
    figure.savefig(path, dpi=120)
    return path


def _draw_history(panel: Axes, found: Sequence[Tried]) -> None:
    whole = [each for each in found if not each.pruned]
    highest = [max(whole[: count + 1], key=lambda each: each.score).measured for count in range(len(whole))]
    panel.step([each.number for each in whole], highest, where="post", color="C1", label="best so far")
    _scatter(panel, found, {each.number: each.number for each in found})
    panel.set(title="validation of all trials", xlabel="trial", ylabel="squared error" if found[0].regression else "accuracy")
    panel.legend()


def _draw_key(panel: Axes, key: str, dimension: Range | Choices, found: Sequence[Tried]) -> None:
    if isinstance(dimension, Choices):
        places = list(dimension.choices)
        at = {each.number: places.index(each.values[key]) for each in found}
        panel.set_xticks(range(len(places)), [shown(value) for value in places])
    else:
        at = {each.number: each.values[key] for each in found}
        panel.set_xscale("log" if dimension.log else "linear")
    _scatter(panel, found, at)
    panel.set(xlabel=key)


def _scatter(panel: Axes, found: Sequence[Tried], at: Mapping[int, float]) -> None:
    for pruned, marker, label in ((False, "o", "to the end"), (True, "x", "cut short")):
        chosen = [each for each in found if each.pruned == pruned]
        panel.scatter([at[each.number] for each in chosen], [each.measured for each in chosen], marker=marker, color="C0", label=label)
