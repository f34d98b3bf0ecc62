"""`innerloop calibrate`: fit the temperatures of a meta-model's scores again, without training."""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from service.cli.terminal import plain_errors, show_published
from service.errors import BadConfigError
from service.registry.read import find
from service.training.options import ImageData, TrainOptions, options_of
from service.training.publish import calibrate_again
from service.training.sources.load import load_tasks
from service.training.tasks import Tasks


@plain_errors
def calibrate(
    model: Annotated[str, typer.Argument(help="`name` or `name@version`.")],
    data_root: Annotated[Path | None, typer.Option(envvar="INNERLOOP_DATA_ROOT", help="Folder that holds the data sets.")] = None,
    model_store: Annotated[Path, typer.Option(envvar="INNERLOOP_MODEL_STORE", help="Folder of meta-models.")] = Path("model_store"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON, for programs; the card goes to stderr.")] = False,
) -> None:
    """Calibrate the scores of MODEL on the validation classes it was trained beside, judge it again, and write the next version.

    The weights stay the same to the byte.
    """
    stored = find(model_store, model)
    options = options_of(stored.manifest.training.config, place=f"the configuration of {model}")
    if stored.manifest.recipe.regression:
        raise BadConfigError(f"calibrate fits the scores of classes, but {model} predicts numbers, which have none; leave it as it is")
    torch.set_num_threads(options.threads)
    folder = calibrate_again(stored, options, _held_out(options, data_root), model_store)
    show_published(folder, console=Console(stderr=as_json), as_json=as_json)


def _held_out(options: TrainOptions, data_root: Path | None) -> dict[str, Tasks]:
    """Load what was held out; nothing is trained, so the training classes need not be turned, mirrored or large."""
    upright: dict[str, Any] = {"rotations": False, "reflections": False, "oversample": 1} if isinstance(options.data, ImageData) else {}
    data = load_tasks(options.model_copy(update={"data": options.data.model_copy(update=upright)}), data_root=data_root)
    return {part: data[part] for part in ("validation", "test")}
