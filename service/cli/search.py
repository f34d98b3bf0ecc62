"""`innerloop search`: look for a better configuration."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.cli.stopping import interrupted
from service.cli.terminal import plain_errors
from service.training.search import STUDY, Refused, Tried, best, open_study, tried
from service.training.search import search as run_trials
from service.training.search_report import BEST, draw, shown, write_best, write_table
from service.training.search_space import read_search_space
from service.training.sources.load import load_tasks


@plain_errors
def search(
    config: Annotated[Path, typer.Argument(help=r"The configuration, a TOML file with a table \[search].")],
    trials: Annotated[int, typer.Option(min=1, help="Finish when there are so many trials, those of earlier runs among them.")] = 20,
    timeout: Annotated[float | None, typer.Option(min=0, help="Stop after so many seconds; --resume goes on.")] = None,
    data_root: Annotated[Path | None, typer.Option(envvar="INNERLOOP_DATA_ROOT", help="Folder that holds the data sets.")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder for the study and its trials; runs/<name>-search when absent.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in the run folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trials as JSON, for programs; what happens goes to stderr.")] = False,
) -> None:
    r"""Try what the table \[search] of CONFIG allows, and write the best configuration, a table and a figure into the run folder."""
    asked, ends = interrupted(), time.monotonic() + (float("inf") if timeout is None else timeout)
    space = read_search_space(config)
    run = run or Path("runs") / f"{space.options.name}-search"
    console = Console(stderr=as_json)
    study = open_study(space, run, resume=resume)
    data = load_tasks(space.options, data_root=data_root)
    for found in run_trials(study, space, data, run, trials=trials, should_stop=lambda: asked() or time.monotonic() > ends):
        console.print(_line(found), markup=False, highlight=False, soft_wrap=True)
        if (winner := best(study, space)) is not None:
            write_best(run, space, winner)
    finished = tried(study, space)
    if finished:
        console.print(f"{write_table(run, finished)} and {draw(run, space, finished)} show {len(finished)} trials", soft_wrap=True)
    if (winner := best(study, space)) is not None:
        console.print(f"best: trial {winner.number}, {winner.said}; innerloop train {run / BEST}", soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(_facts(finished, winner, run), indent=2))
    if len(finished) < trials:
        console.print(f"stopped; {run / STUDY} continues with --resume")
        raise typer.Exit(130)


def _facts(finished: Sequence[Tried], winner: Tried | None, run: Path) -> dict[str, object]:
    trials = [
        {
            "trial": each.number,
            "squared_error" if each.regression else "accuracy": each.measured if math.isfinite(each.measured) else None,
            "meta_steps": each.step,
            "cut_short": each.pruned,
            "values": dict(each.values),
        }
        for each in finished
    ]
    return {"best": winner and winner.number, "config": winner and str(run / BEST), "trials": trials}


def _line(found: Tried | Refused) -> str:
    if isinstance(found, Refused):
        return f"trial {found.number:>3}  refused: {found.why}"
    values = ", ".join(f"{key} = {shown(value)}" for key, value in found.values.items())
    ended = f"cut short after {found.step:,} meta-steps" if found.pruned else f"{found.step:,} meta-steps"
    return f"trial {found.number:>3}  validation {found.said}  {ended}  {values}"
