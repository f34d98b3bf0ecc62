"""`innerloop evaluate`: a meta-model's accuracy as served."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from innerloop.cli.terminal import folding, show
from service.cli.terminal import plain_errors
from service.errors import BadDataError, StepsOutOfRangeError, WrongInputKindError
from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs, EpisodeShape
from service.learner.recipe import Recipe
from service.registry.manifest import Training
from service.registry.read import Stored, find
from service.training.evaluate import Judged, fitting_shapes, pool
from service.training.evaluate import evaluate as judge
from service.training.evaluation_report import measure, write_report
from service.training.measure import Judging
from service.training.measure import shapes as everything
from service.training.options import GlyphData, OmniglotData
from service.training.sources.class_folders import loaded, look
from service.training.sources.load import load_data

EPISODES, REPORT_EPISODES = 10_000, 400

USUAL_WAYS, USUAL_SHOTS = (5, 20), (1, 5)

# So many classes are named in a refusal.
NAMED = 5


@plain_errors
def evaluate(
    model: Annotated[str, typer.Argument(help="`name` or `name@version`.")],
    way: Annotated[list[int] | None, typer.Option(help="Classes in an episode; repeat for more (default: 5, 20, as they fit).")] = None,
    shot: Annotated[list[int] | None, typer.Option(help="Examples of each class; repeat for more (default: 1, 5, as they fit).")] = None,
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
    shapes = everything(classes, stored.manifest.recipe, queries=queries) if report is not None and not way and not shot else []
    shapes = shapes or _shapes(classes, stored.manifest.recipe, way, shot, queries=queries)
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


def _shapes(
    classes: ClassInputs, recipe: Recipe, way: Sequence[int] | None, shot: Sequence[int] | None, *, queries: int
) -> list[EpisodeShape]:
    """Give every way with every shot: those asked for, and where none are the usual ones that the classes and the head allow."""
    wrong = next((each for each in way or () if recipe.way not in (None, each)), None)
    if wrong is not None:
        raise BadDataError(
            f"expected {recipe.way} classes in an episode, as many as the meta-model's head is of, got {wrong}; change --way"
        )
    usual = (recipe.way,) if recipe.way is not None else USUAL_WAYS if len(classes) >= min(USUAL_WAYS) else (len(classes),)
    fitting = fitting_shapes(classes, recipe, way or usual, [(each, each) for each in shot or USUAL_SHOTS], queries=queries)
    # Where none fits, what judges says why.
    ways = way or list(dict.fromkeys(shape.way for shape in fitting)) or usual
    shots = shot or list(dict.fromkeys(shape.shot[0] for shape in fitting)) or USUAL_SHOTS
    return [EpisodeShape(each, (count, count), queries) for each in ways for count in shots]


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
        trained = _trained_on(stored)
        split = trained.get("split", "background") if trained.get("source") == "omniglot" else "background"
        return _test_part(OmniglotData(source="omniglot", split=split, rotations=False), takes.preprocessing, data_root)
    if data == "glyphs":
        return _test_part(GlyphData(source="glyphs", rotations=False), takes.preprocessing, data_root)
    return _folder(Path(data), stored.manifest.training, _trained_on(stored), takes.preprocessing)


def _trained_on(stored: Stored) -> dict[str, Any]:
    """Give the table `[data]` of the configuration that the meta-model was trained by."""
    return stored.manifest.training.config.get("data") or {}


def _folder(path: Path, training: Training, trained_on: dict[str, Any], preprocessing: Preprocessing) -> ClassInputs:
    """Load the classes of a folder; of one that has classes which were trained on, the test classes only, but for what training left out.

    Raises:
        BadDataError: as `class_folders` does, or there are classes that were trained on and no test classes.
    """
    found = look(path)
    # Invented characters are numbered: their names say nothing of a folder's.
    known = {*training.train_classes, *training.validation_classes} if trained_on.get("source") in ("folder", "omniglot") else set()
    labels = {member.label for member in found.members}
    seen = sorted(labels & known)
    if not seen:
        return loaded(path, found.but(()), preprocessing, at_least=2)
    held_out = labels & set(training.test_classes)
    if not held_out:
        named = ", ".join(seen[:NAMED]) + (", …" if len(seen) > NAMED else "")
        raise BadDataError(
            f"{path}: expected classes that were not trained on, got {len(seen)} that were trained or validated on ({named}) and none"
            " of the test classes; take their folders out, or name other --data"
        )
    there = {*found.stray, *(member.path for member in found.members)}
    chosen = found.but(there & {PurePosixPath(each) for each in trained_on.get("leave_out", ())})
    said = f"judging the {len(held_out)} test classes of {path}; {len(seen)} others were trained or validated on"
    Console(stderr=True).print(said, markup=False, highlight=False, soft_wrap=True)
    return loaded(path, [each for each in chosen if each.label in held_out], preprocessing, at_least=2)


def _test_part(data: OmniglotData | GlyphData, preprocessing: Preprocessing, data_root: Path | None) -> ClassInputs:
    return load_data(data, preprocessing, data_root=data_root)["test"]
