"""What the terminal shows: tables, JSON, and errors on one line."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from innerloop.cli.statuses import REFUSED
from innerloop.wire import AdaptedSession, Estimate, Estimates, ExampleInfo, Prediction, Predictions, SessionInfo

_WIDEST = 100_000  # characters


def fail(message: str, *, status: int = REFUSED) -> NoReturn:
    """Ends the command with one line on stderr."""
    line = Text.assemble(("Error: ", "bold red"), " ".join(message.split()))
    Console(stderr=True).print(line, soft_wrap=True)
    raise typer.Exit(status)


def show(table: Table) -> None:
    """The table as wide as the terminal; for a file or a pipe, as wide as it is."""
    # A label may look like markup, or be `:smile:`.
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    console.print(table)


def folding(*titles: str) -> list[Column]:
    """Columns whose cells go on in the next line where the terminal is narrow: nothing in them is cut."""
    return [Column(title, overflow="fold") for title in titles]


def show_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_session(info: SessionInfo, *, as_json: bool) -> None:
    if as_json:
        show_json(info.model_dump(mode="json"))
    else:
        show(session_table(info))


def show_answers(names: Sequence[str], answer: Predictions | Estimates, *, as_json: bool) -> None:
    """The answer to each query, by the query's name."""
    if as_json:
        show_json(answers_json(names, answer))
    else:
        show(predictions_table(names, answer) if isinstance(answer, Predictions) else estimates_table(names, answer))


def session_table(info: SessionInfo) -> Table:
    """One session, a line per fact."""
    table = Table.grid(*folding("fact", "value"), padding=(0, 2))
    for fact in _identity(info):
        table.add_row(*fact)
    table.add_row("model", f"{info.model}, scope {info.scope}, {info.steps} steps")
    if info.labels:
        table.add_row("classes", ", ".join(f"{label} ({info.shots[label]})" for label in info.labels))
    table.add_row("loss per step", " → ".join(f"{loss:.3f}" for loss in info.losses))
    if info.labels:
        table.add_row("leave-one-out", _percent(info.leave_one_out_accuracy))
    if not info.keeps_support:
        table.add_row("support set", "not kept; no example can be added or removed")
    if isinstance(info, AdaptedSession):
        table.add_row("milliseconds", ", ".join(f"{part} {spent:.1f}" for part, spent in info.milliseconds))
    table.add_row("expires", _expiry(info))
    return table


def sessions_table(sessions: Iterable[SessionInfo]) -> Table:
    """Many sessions, a line each."""
    # A narrow terminal folds the others and leaves the id whole: it is to be copied.
    table = Table(Column("session", no_wrap=True), *folding("name", "model", "classes", "expires"))
    for info in sessions:
        table.add_row(info.session, info.name or "", info.model, str(len(info.labels)), _expiry(info))
    return table


def examples_table(examples: Iterable[ExampleInfo]) -> Table:
    """Id and label of each example."""
    table = Table(*folding("id", "label"))
    for example in examples:
        table.add_row(str(example.id), _known(example))
    return table


def predictions_table(names: Sequence[str], answer: Predictions) -> Table:
    """A line for each file; runners-up, nearest examples and a mark on what is unlike every class where there are any."""
    columns = {
        "file": list(names),
        "label": [one.label for one in answer.predictions],
        "score": [f"{one.score:.3f}" for one in answer.predictions],
        "margin": [f"{one.margin:.3f}" for one in answer.predictions],
        "runners-up": [_runners_up(one) for one in answer.predictions],
        "nearest": [_nearest(one) for one in answer.predictions],
        "note": ["unlike every class" if one.unfamiliar else "" for one in answer.predictions],
    }
    return _filled(columns)


def estimates_table(names: Sequence[str], answer: Estimates) -> Table:
    """File and line, the numbers predicted for it, and the nearest examples where they were asked for."""
    columns = {
        "file": list(names),
        "target": [_numbers(one.target) for one in answer.predictions],
        "nearest": [_nearest(one) for one in answer.predictions],
    }
    return _filled(columns)


def answers_json(names: Sequence[str], answer: Predictions | Estimates) -> dict[str, object]:
    """The server's answer, each prediction with its file."""
    told = answer.model_dump(exclude_unset=True)
    named = [{"file": name, **one} for name, one in zip(names, told["predictions"], strict=True)]
    return {**told, "predictions": named}


def _identity(info: SessionInfo) -> Iterator[tuple[str, str]]:
    """Which session it is, and which state of it, where that is worth a line."""
    yield "session", info.session
    if info.name is not None:
        yield "name", info.name
    if info.revision > 1:
        yield "revision", f"{info.revision}, refitted: its stored weights were lost" if info.refitted else str(info.revision)
    if isinstance(info, AdaptedSession) and info.added:
        yield "added", f"examples {info.added[0]} to {info.added[-1]}" if len(info.added) > 1 else f"example {info.added[0]}"


def _runners_up(prediction: Prediction) -> str:
    return ", ".join(f"{other.label} {other.score:.3f}" for other in prediction.top if other.label != prediction.label)


def _filled(columns: Mapping[str, Sequence[str]]) -> Table:
    """A table of the columns that have something to say."""
    told = {title: cells for title, cells in columns.items() if any(cells)}
    table = Table(*folding(*told))
    for row in zip(*told.values(), strict=True):
        table.add_row(*row)
    return table


def _nearest(prediction: Prediction | Estimate) -> str:
    return ", ".join(f"{_known(example)} #{example.id} {example.distance:.3f}" for example in prediction.nearest)


def _known(example: ExampleInfo) -> str:
    return _numbers(example.target or ()) if example.label is None else example.label


def _numbers(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.6g}" for number in numbers)


def _percent(share: float | None) -> str:
    return "not known; it needs a class with two examples" if share is None else f"{share:.1%} of the support set"


def _expiry(info: SessionInfo) -> str:
    return "never, it is pinned" if info.expires_at is None else f"{info.expires_at.astimezone():%Y-%m-%d %H:%M:%S}"
