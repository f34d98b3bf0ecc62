import threading
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from service.learner.outer_rules import Outcome
from service.training.checkpoint import Best
from service.training.evaluate import Judged
from service.training.report import CURVE_EVERY, ProgressReport


def test_curves_and_validations_reach_tensorboard_and_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with ProgressReport(tmp_path, meta_steps=40) as reporter:
        for step in range(1, 41):
            reporter.stepped(step, Outcome({}, loss=1 / step, accuracy=step / 40), 0.01)
        reporter.validated(40, Judged(accuracy=0.875, ci95=0.0125, loss=0.5, calibration_error=0.01), Best(0.9, 20, {}, {}))
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in curves.Scalars("train/loss")] == [
        (step, pytest.approx(1 / step)) for step in range(CURVE_EVERY, 41, CURVE_EVERY)
    ]
    assert [(event.step, event.value) for event in curves.Scalars("validation/accuracy")] == [(40, pytest.approx(0.875))]
    shown = capsys.readouterr().out
    assert "step     40  validation 87.50% ± 1.25%  loss 0.5000" in shown
    assert "40/40" in shown


def test_a_run_that_breaks_off_leaves_the_terminal_free(tmp_path: Path) -> None:
    def broken() -> None:
        with ProgressReport(tmp_path, meta_steps=4) as reporter:
            reporter.stepped(1, Outcome({}, loss=1.0, accuracy=0.5), 0.01)
            raise RuntimeError("broken")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="broken"):
        broken()
    # Neither the bar nor the curves keep a thread.
    assert threading.active_count() == before
