"""`innerloop train`: meta-train by a configuration and put the result in the model store."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.cli.stopping import interrupted
from service.cli.terminal import plain_errors
from service.learner.episodes import ClassInputs
from service.registry.read import read_manifest
from service.training.checkpoint import FILENAME
from service.training.meta_train import meta_train
from service.training.options import read_options
from service.training.publish import publish
from service.training.report import ProgressReport
from service.training.sources.load import load_tasks
from service.training.tasks import Tasks
from service.training.tracking import Tracking, tracker


def _counted(part: str, tasks: Tasks) -> str:
    return f"{len(tasks)} {part} classes ({len(tasks.inputs):,} images)" if isinstance(tasks, ClassInputs) else f"{part} tasks without end"


@plain_errors
def train(
    config: Annotated[Path, typer.Argument(help="The configuration, a TOML file; configs/ has examples.")],
    data_root: Annotated[Path | None, typer.Option(envvar="INNERLOOP_DATA_ROOT", help="Folder that holds the data sets.")] = None,
    model_store: Annotated[Path, typer.Option(envvar="INNERLOOP_MODEL_STORE", help="Where the meta-model goes.")] = Path("model_store"),
    run: Annotated[Path | None, typer.Option(help="Folder for checkpoints and curves; runs/<name> when absent.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the run folder.")] = False,
    track: Annotated[Tracking, typer.Option(help="Where curves and sample episodes go.")] = "tensorboard",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs; what happens goes to stderr.")] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch a missing data set into --data-root.")] = False,
) -> None:
    """Meta-train by CONFIG. Ctrl-C leaves a checkpoint that --resume continues from."""
    options = read_options(config)
    run = run or Path("runs") / options.name
    console = Console(stderr=as_json)
    console.print(f"loading {options.data.source}")
    data = load_tasks(options, data_root=data_root, download=download)
    console.print(", ".join(_counted(part, tasks) for part, tasks in data.items()))
    with ProgressReport(tracker(track, run, options), meta_steps=options.steps, console=console) as reporter:
        trained = meta_train(options, data, run, reporter=reporter, resume=resume, should_stop=interrupted())
    if trained is None or not trained.finished:
        console.print(f"stopped; {run / FILENAME} continues with --resume")
        raise typer.Exit(130)
    console.print("judging on the test classes")
    folder = publish(options, trained, data, model_store)
    console.print((folder / "CARD.md").read_text(encoding="utf-8"), markup=False, highlight=False)
    console.print(f"written to {folder}")
    if as_json:
        facts = read_manifest(folder).model_dump(mode="json", include={"name", "version", "evaluation", "errors"})
        typer.echo(json.dumps({**facts, "folder": str(folder)}, indent=2))
