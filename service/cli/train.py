"""`innerloop train`: meta-train by a configuration and put the result in the model store."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.cli.stopping import interrupted
from service.cli.terminal import plain_errors, show_published
from service.errors import BadCheckpointError, BadConfigError
from service.learner.episodes import ClassInputs
from service.training.checkpoint import FILENAME
from service.training.meta_train import Trained, meta_train
from service.training.options import TrainOptions, read_options
from service.training.own_images import Wishes, plan, warnings, write_plan
from service.training.processes import DeviceKind, joined
from service.training.publish import publish
from service.training.report import ProgressReport
from service.training.sources.load import load_tasks
from service.training.sources.survey import survey
from service.training.tasks import Tasks
from service.training.tracking import Tracking, tracker


@plain_errors
def train(
    config: Annotated[Path | None, typer.Argument(help="The configuration, a TOML file; configs/ has examples.")] = None,
    images: Annotated[Path | None, typer.Option(help="A folder or zip of class folders, to train on without a configuration.")] = None,
    name: Annotated[str | None, typer.Option(help="With --images: the meta-model's name; made of the folder's when absent.")] = None,
    size: Annotated[
        int | None, typer.Option(help="With --images: pixels of a side, 28 to 224; chosen from the images when absent.")
    ] = None,
    colour: Annotated[bool | None, typer.Option("--colour/--grey", help="With --images: chosen from the images when absent.")] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="With --images: steps of the run; chosen from the images when absent.")] = None,
    data_root: Annotated[Path | None, typer.Option(envvar="INNERLOOP_DATA_ROOT", help="Folder that holds the data sets.")] = None,
    model_store: Annotated[Path, typer.Option(envvar="INNERLOOP_MODEL_STORE", help="Where the meta-model goes.")] = Path("model_store"),
    run: Annotated[Path | None, typer.Option(help="Folder for checkpoints and curves; runs/<name> when absent.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the run folder.")] = False,
    track: Annotated[Tracking, typer.Option(help="Where curves and sample episodes go.")] = "tensorboard",
    device: Annotated[DeviceKind, typer.Option(help="Where gradients are computed; judging stays on the CPU.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs; what happens goes to stderr.")] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch a missing data set into --data-root.")] = False,
) -> None:
    """Meta-train by CONFIG, or on your own --images. Ctrl-C leaves a checkpoint that --resume continues from.

    torchrun --nproc-per-node 2 --no-python -- innerloop train CONFIG shares the work among processes; the first one speaks and writes.
    """
    wishes = Wishes(name=name, size=size, colour=colour, steps=steps)
    with joined(os.environ, device) as processes:
        console = Console(stderr=as_json, quiet=not processes.leads)
        config, run = processes.told(lambda: _chosen(config, images, wishes, run=run, console=console))
        options = read_options(config)
        run = run or Path("runs") / options.name
        if not resume and processes.told((run / FILENAME).exists):
            raise BadCheckpointError(
                f"{run / FILENAME}: a run has been here; go on with --resume, name another folder with --run, or remove it"
            )
        console.print(f"loading {options.data.source}")
        data = load_tasks(options, data_root=data_root, download=download)
        console.print(", ".join(_counted(part, tasks) for part, tasks in data.items()))
        tracks = tracker(track if processes.leads else "none", run, options)
        with ProgressReport(tracks, meta_steps=options.steps, console=console) as reporter:
            trained = meta_train(options, data, run, reporter=reporter, resume=resume, should_stop=interrupted(), processes=processes)
    if trained is None or not trained.finished:
        console.print(f"stopped; {run / FILENAME} continues with --resume")
        raise typer.Exit(130)
    if processes.leads:
        _publish(options, trained, data, model_store, console=console, as_json=as_json)


def _publish(
    options: TrainOptions, trained: Trained, data: Mapping[str, Tasks], model_store: Path, *, console: Console, as_json: bool
) -> None:
    console.print("judging on the test classes")
    folder = publish(options, trained, data, model_store)
    show_published(folder, console=console, as_json=as_json)


def _counted(part: str, tasks: Tasks) -> str:
    return f"{len(tasks)} {part} classes ({len(tasks.inputs):,} images)" if isinstance(tasks, ClassInputs) else f"{part} tasks without end"


def _chosen(config: Path | None, images: Path | None, wishes: Wishes, *, run: Path | None, console: Console) -> tuple[Path, Path | None]:
    """Give the configuration to train by and the run folder, if one is known: as named, or as made for the images."""
    if config is not None and images is None:
        if wishes != Wishes():
            raise BadConfigError("--name, --size, --colour, --grey and --steps go with --images; a configuration says these itself")
        return config, run
    if config is not None or images is None:
        raise BadConfigError("expected either a configuration or --images FOLDER, got " + ("neither" if images is None else "both"))
    console.print(f"looking at {images}", soft_wrap=True)
    seen = survey(images)
    chosen = plan(images, seen, wishes, cores=os.cpu_count() or 1)
    for line in warnings(chosen, seen):
        console.print(f"warning: {line}", markup=False, highlight=False, soft_wrap=True)
    run = run or Path("runs") / chosen.name
    config = write_plan(chosen, run)
    console.print(f"training by {config}, chosen from the images", soft_wrap=True)
    return config, run
