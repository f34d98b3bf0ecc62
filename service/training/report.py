"""What a person sees of a run: a progress bar, and TensorBoard curves."""

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from service.learner.outer_rules import Outcome
from service.training.checkpoint import Best
from service.training.evaluate import Judged
from service.training.regression import Errors

CURVE_EVERY = 20


class ProgressReport:
    """A progress bar with loss, validation accuracy and time left; curves go to `<run>/tensorboard`."""

    def __init__(self, run: Path, *, meta_steps: int, console: Console | None = None) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]}"),
            TextColumn("validation {task.fields[validation]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns, console=console)
        self._bar = self._progress.add_task("meta-training", total=meta_steps, loss="-", validation="-")
        self._curves = SummaryWriter(str(run / "tensorboard"))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()
        self._curves.close()

    def stepped(self, step: int, outcome: Outcome, learning_rate: float) -> None:
        """Hear of one meta-step."""
        self._progress.update(self._bar, completed=step, loss=f"{outcome.loss:.3f}")
        if step % CURVE_EVERY == 0:
            self._plot(step, {"train/loss": outcome.loss, "train/accuracy": outcome.accuracy, "train/learning_rate": learning_rate})

    def validated(self, step: int, judged: Judged | Errors, best: Best) -> None:
        """Hear of one validation."""
        self._progress.update(self._bar, validation=f"{judged} (best at {best.step})")
        self._progress.console.print(f"step {step:>6}  validation {judged}")
        self._plot(step, {"validation/score": judged.score, "validation/loss": judged.loss})

    def _plot(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._curves.add_scalar(name, value, step)
