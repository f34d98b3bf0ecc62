"""What a person sees of a run: a progress bar, and what a tracker keeps."""

import math
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from service.learner.inner_loop import RATE
from service.learner.outer_rules import Outcome
from service.learner.parameters import Params, under
from service.training.meta_train import Validated
from service.training.pictures import episode_picture
from service.training.tracking import Tracker

CURVE_EVERY = 20

PICTURE_DIMENSIONS = 4  # [N, C, H, W]


class ProgressReport:
    """A progress bar with loss, validation accuracy and time left; curves, step sizes and sample episodes go to the tracker."""

    def __init__(self, tracker: Tracker, *, meta_steps: int, console: Console | None = None) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]}"),
            TextColumn("validation {task.fields[validation]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns, console=console)
        self._bar = self._progress.add_task("meta-training", total=meta_steps, loss="-", validation="-")
        self._tracker = tracker

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()
        self._tracker.close()

    def stepped(self, step: int, outcome: Outcome, learning_rate: float) -> None:
        """Hear of one meta-step."""
        self._progress.update(self._bar, completed=step, loss=f"{outcome.loss:.3f}")
        if step % CURVE_EVERY == 0:
            curves = {"train/loss": outcome.loss, "train/accuracy": outcome.accuracy, "train/learning_rate": learning_rate}
            self._tracker.numbers(step, {name: value for name, value in curves.items() if math.isfinite(value)})

    def validated(self, found: Validated) -> None:
        """Hear of one validation."""
        self._progress.update(self._bar, validation=f"{found.judged} (best at {found.best.step})")
        self._progress.console.print(f"step {found.step:>6}  validation {found.judged}")
        curves = {f"validation/{name}": value for name, value in found.judged.curves().items()}
        self._tracker.numbers(found.step, {**curves, **step_sizes(found.model.params)})
        if found.sample is not None and found.sample.queries.dim() == PICTURE_DIMENSIONS:
            self._tracker.picture(found.step, "train/episode", episode_picture(found.sample))


def step_sizes(params: Params) -> dict[str, float]:
    """Give every learned step size by name, those of a parameter one by one where it has several."""
    found: dict[str, float] = {}
    for name, logarithms in under(params, [RATE]).items():
        sizes = logarithms.exp().flatten().tolist()
        key = f"step_size/{name.removeprefix(RATE)}"
        found |= {key: sizes[0]} if len(sizes) == 1 else {f"{key}/{place}": size for place, size in enumerate(sizes)}
    return found
