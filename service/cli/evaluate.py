"""`innerloop evaluate`: a meta-model's accuracy as served."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from innerloop.cli.terminal import folding, show
from service.cli.terminal import plain_errors
from service.errors import BadDataError, StepsOutOfRangeError, WrongInputKindError
from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs, EpisodeShape
from service.registry.read import Stored, find
from service.training.evaluate import Judged, pool
from service.training.evaluate import evaluate as judge
from service.training.evaluation_report import measure, write_report
from service.training.measure import Judging
from service.training.measure import shapes as everything
from service.training.options import FolderData, GlyphData, OmniglotData
from service.training.sources.class_folders import class_folders
from service.training.sources.load import load_data

EPISODES, REPORT_EPISODES = 10_000, 400


@plain_errors
def evaluate(
    model: Annotated[str, typer.Argument(help="`name` or `name@version`.")],
    way: Annotated[list[int] | None, typer.Option(help="Classes in an episode; repeat for more (default: 5, 20).")] = None,
    shot: Annotated[list[int] | None, typer.Option(help="Examples of each class; repeat for more (default: 1, 5).")] = None,
    steps: Annotated[int | None, typer.Option(help="Inner steps; the meta-model's default when absent.")] = None,
    episodes: Annotated[int | None, typer.Option(min=2, help="Episodes of each cell (default: 10,000; 400 in a report).")] = None,
    queries: Annotated[int, typer.Option(min=1, help="Queries of each class.")] = 5,
    seed: Annotated[int, typer.Option(help="Names the episodes.")] = 1,
    rotations: Annotated[bool, typer.Option("--rotations", help="Classes turned by 90, 180 and 270 degrees count too.")] = False,
    within: Annotated[bool, typer.Option("--within", help="Classes of an episode share a parent folder: one alphabet.")] = False,
    data: Annotated[str, typer.Option(help="omniglot, glyphs, or a folder or zip of class folders.")] = "omniglot",
    data_root: Annotated[Path | None, typer.Option(envvar="INNERLOOP_DATA_ROOT", help="Folder that holds the data sets.")] = None,
    model_store: Annotated[Path, typer.Option(envvar="INNERLOOP_MODEL_STORE", help="Folder of meta-models.")] = Path("model_store"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write a report into this folder: ways up to 100, uneven shots, every step.")] = None,
) -> None:
    """Measure MODEL on episodes of unseen classes: mean accuracy ± 95 % confidence interval, every query judged alone."""
    stored = find(model_store, model)
    classes = _classes(data, stored, data_root)
    classes = classes.with_rotations() if rotations else classes
    steps = stored.manifest.recipe.steps_default if steps is None else steps
    if not 0 <= steps <= stored.manifest.recipe.steps_max:
        raise StepsOutOfRangeError(f"expected 0 to {stored.manifest.recipe.steps_max} inner steps, got {steps}")
    if report is not None and not way and not shot:
        shapes = everything(classes, stored.manifest.recipe, queries=queries)
    else:
        shapes = [EpisodeShape(each, (count, count), queries) for each in way or (5, 20) for count in shot or (1, 5)]
    shapes = [replace(shape, group=shape.way) for shape in shapes] if within else shapes
    if report is not None:
        how = Judging(episodes or REPORT_EPISODES, queries, seed)
        _report(stored, classes, shapes, how, steps=steps, data=_said(data, rotations=rotations, within=within), folder=report)
        return
    episodes = episodes or EPISODES
    results = _judged(stored, classes, shapes, steps=steps, episodes=episodes, seed=seed)
    if as_json:
        rows = [
            {"data": data, "rotations": rotations, "within": within, "way": shape.way, "shot": shape.shot[0], "steps": steps}
            | {"episodes": episodes, **asdict(judged)}
            for shape, judged in results
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(*folding("data", "way", "shot", "inner steps", "accuracy", "calibration error", "episodes"))
    for shape, judged in results:
        accuracy = f"{judged.accuracy:.2%} ± {judged.ci95:.2%}"
        cells = (data, shape.way, shape.shot[0], steps, accuracy, f"{judged.calibration_error:.2%}", f"{episodes:,}")
        table.add_row(*map(str, cells))
    show(table)


def _report(stored: Stored, classes: ClassInputs, shapes: list[EpisodeShape], how: Judging, *, steps: int, data: str, folder: Path) -> None:
    try:
        measured = measure(stored, classes, shapes, how, steps=steps, data=data)
    except ValueError as error:
        raise BadDataError(str(error)) from error
    for path in write_report(measured, folder):
        Console().print(f"written to {path}", soft_wrap=True)


def _said(data: str, *, rotations: bool, within: bool) -> str:
    return f"{data}{', turned classes among them' if rotations else ''}{', within one parent folder' if within else ''}"


def _judged(
    stored: Stored, classes: ClassInputs, shapes: list[EpisodeShape], *, steps: int, episodes: int, seed: int
) -> Iterator[tuple[EpisodeShape, Judged]]:
    prepared = pool(stored.model, classes, stored.manifest.calibration)
    for shape in shapes:
        try:
            seen = prepared.within(shape.group) if shape.group else prepared
            yield shape, judge(stored.model, seen, shape, steps=steps, episodes=episodes, seed=seed)
        except ValueError as error:
            raise BadDataError(str(error)) from error


def _classes(data: str, stored: Stored, data_root: Path | None) -> ClassInputs:
    """Load test classes through the meta-model's own preprocessing."""
    takes = stored.manifest.input
    if takes.kind != "image":
        raise WrongInputKindError(f"evaluate reads images, but this meta-model takes {takes.kind} inputs")
    if data == "omniglot":
        split = stored.manifest.training.config.get("data", {}).get("split", "background")
        return _test_part(OmniglotData(source="omniglot", split=split, rotations=False), takes.preprocessing, data_root)
    if data == "glyphs":
        return _test_part(GlyphData(source="glyphs", rotations=False), takes.preprocessing, data_root)
    return class_folders(Path(data), takes.preprocessing, at_least=2)


def _test_part(data: OmniglotData | GlyphData | FolderData, preprocessing: Preprocessing, data_root: Path | None) -> ClassInputs:
    return load_data(data, preprocessing, data_root=data_root)["test"]
