"""Where the curves and pictures of a run go: TensorBoard, Weights & Biases, or nowhere."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from service.errors import BadConfigError
from service.training.options import TrainOptions

Tracking = Literal["tensorboard", "wandb", "none"]


class Tracker(Protocol):
    """Keeps what a run shows of itself; steps are meta-steps and never go back."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Keep numbers by name."""

    def picture(self, step: int, name: str, pixels: Tensor) -> None:
        """Keep a picture [C, H, W], float in 0..1."""

    def close(self) -> None:
        """Write what is still to be written."""


class Nowhere:
    """Keeps nothing."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None: ...

    def picture(self, step: int, name: str, pixels: Tensor) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Writes event files to `<run>/tensorboard`."""

    def __init__(self, run: Path) -> None:
        self._writer = SummaryWriter(str(run / "tensorboard"))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Keep numbers by name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, pixels: Tensor) -> None:
        """Keep a picture [C, H, W], float in 0..1."""
        self._writer.add_image(name, pixels, step)

    def close(self) -> None:
        """Write what is still to be written."""
        self._writer.close()


class WeightsAndBiases:
    """Sends a run to Weights & Biases, or writes it to `<run>/wandb` with WANDB_MODE=offline; a run that is resumed goes on there.

    Project, mode and account are those of wandb's own environment variables and settings.
    """

    def __init__(self, run: Path, options: TrainOptions) -> None:
        wandb = _wandb()
        run.mkdir(parents=True, exist_ok=True)
        self._image: Callable[..., Any] = wandb.Image
        self._run = wandb.init(dir=run, name=options.name, id=_run_id(run), resume="allow", config=options.model_dump(mode="json"))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Keep numbers by name."""
        self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, pixels: Tensor) -> None:
        """Keep a picture [C, H, W], float in 0..1."""
        self._run.log({name: self._image(pixels.movedim(0, -1).numpy())}, step=step)

    def close(self) -> None:
        """Write what is still to be written."""
        self._run.finish()


def tracker(kind: Tracking, run: Path, options: TrainOptions) -> Tracker:
    """Open the tracker of a run folder.

    Raises:
        BadConfigError: it is of a package that is not installed.
    """
    if kind == "wandb":
        return WeightsAndBiases(run, options)
    return TensorBoard(run) if kind == "tensorboard" else Nowhere()


def _wandb() -> Any:
    try:
        # Optional, and slow to import.
        import wandb
    except ModuleNotFoundError:
        raise BadConfigError("--track wandb needs Weights & Biases: pip install 'innerloop[wandb]'") from None
    return wandb


def _run_id(run: Path) -> str:
    """Give the id that this folder's run has there, made once."""
    path = run / "wandb-id"
    if not path.exists():
        path.write_text(secrets.token_hex(4), encoding="utf-8")
    return path.read_text(encoding="utf-8")
