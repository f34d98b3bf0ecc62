import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from torch import Tensor

from service.learner.encoders.mlp import Mlp
from service.learner.episodes import Episode, Support
from service.learner.meta_model import MetaModel
from service.learner.outer_rules import Outcome
from service.training.checkpoint import Best
from service.training.evaluate import Judged
from service.training.meta_train import Validated
from service.training.report import CURVE_EVERY, ProgressReport, step_sizes
from service.training.tracking import Nowhere, TensorBoard
from tests.tiny import tiny_model

JUDGED = Judged(accuracy=0.875, ci95=0.0125, loss=0.5, calibration_error=0.01)
PICTURES = Episode(Support(torch.zeros(2, 1, 8, 8), torch.arange(2), 2), torch.zeros(2, 1, 8, 8), torch.arange(2))
VECTORS = Episode(Support(torch.zeros(2, 3), torch.arange(2), 2), torch.zeros(2, 3), torch.arange(2))


@dataclass(slots=True)
class Kept:
    """A tracker that remembers."""

    values: dict[int, dict[str, float]] = field(default_factory=dict)
    pictures: dict[int, Tensor] = field(default_factory=dict)
    closed: bool = False

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self.values[step] = {**self.values.get(step, {}), **values}

    def picture(self, step: int, name: str, pixels: Tensor) -> None:
        assert name == "train/episode"
        self.pictures[step] = pixels

    def close(self) -> None:
        self.closed = True


def validated(step: int, model: MetaModel, sample: Episode = PICTURES) -> Validated:
    return Validated(step, JUDGED, Best(0.9, 20, {}, {}), model, sample)


def test_curves_and_validations_reach_tensorboard_and_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with ProgressReport(TensorBoard(tmp_path), meta_steps=40) as reporter:
        for step in range(1, 41):
            reporter.stepped(step, Outcome({}, loss=1 / step, accuracy=step / 40), 0.01)
        reporter.validated(validated(40, tiny_model()))
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in curves.Scalars("train/loss")] == [
        (step, pytest.approx(1 / step)) for step in range(CURVE_EVERY, 41, CURVE_EVERY)
    ]
    for name, value in (("accuracy", 0.875), ("loss", 0.5), ("calibration_error", 0.01)):
        assert [(event.step, event.value) for event in curves.Scalars(f"validation/{name}")] == [(40, pytest.approx(value))]
    assert [(event.step, event.value) for event in curves.Scalars("step_size/head.bias")] == [(40, pytest.approx(5.0))]
    [picture] = curves.Images("train/episode")
    assert (picture.step, picture.width, picture.height) == (40, 8 + 2 + 8, 2 * 8)
    shown = capsys.readouterr().out
    assert "step     40  validation accuracy 87.50% ± 1.25%, loss 0.5000" in shown
    assert "40/40" in shown


def test_learned_step_sizes_are_told_as_they_are_not_as_their_logarithms() -> None:
    params = {"rate.head.weight": torch.tensor(0.5).log(), "rate.encoder.x": torch.tensor([1.0, 2.0]).log(), "encoder.x": torch.ones(1)}
    expected = {"step_size/head.weight": 0.5, "step_size/encoder.x/0": 1.0, "step_size/encoder.x/1": 2.0}
    assert step_sizes(params) == pytest.approx(expected)


def test_an_episode_of_vectors_has_no_picture() -> None:
    kept = Kept()
    with ProgressReport(kept, meta_steps=4) as reporter:
        reporter.validated(validated(2, tiny_model(Mlp(3)), VECTORS))
        reporter.validated(validated(4, tiny_model()))
    assert list(kept.pictures) == [4]
    assert (list(kept.values), kept.closed) == ([2, 4], True)


def test_a_run_that_breaks_off_leaves_the_terminal_free(tmp_path: Path) -> None:
    def broken() -> None:
        with ProgressReport(TensorBoard(tmp_path), meta_steps=4) as reporter:
            reporter.stepped(1, Outcome({}, loss=1.0, accuracy=0.5), 0.01)
            raise RuntimeError("broken")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="broken"):
        broken()
    # Neither the bar nor the curves keep a thread.
    assert threading.active_count() == before


def test_nothing_is_kept_where_nothing_is_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ProgressReport(Nowhere(), meta_steps=40) as reporter:
        reporter.stepped(CURVE_EVERY, Outcome({}, loss=1.0, accuracy=0.5), 0.01)
        reporter.validated(validated(40, tiny_model()))
    assert list(tmp_path.iterdir()) == []
