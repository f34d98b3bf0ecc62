import asyncio
from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from service.runtime.ranking import Ranked
from service.runtime.tasks import PredictTask
from tests.runtime.conftest import Stacks
from tests.runtime.storm import storm


def test_no_answer_in_a_storm_is_wrong_lost_or_late_for_ever(tmp_path: Path, stacks: Stacks) -> None:
    """The short form of `make storm`: a few thousand answers, each compared with the one computed alone."""
    with capture_logs(), storm(tmp_path, seed=1, seconds=6) as (blowing, engine):
        asyncio.run(blowing.blow())
    assert blowing.wrong == []
    assert blowing.counts["answers checked"] > 200
    happened = {name for name, count in (blowing.counts | engine.faults).items() if count}
    assert happened >= {
        "adapted",
        "grown",
        "weights checked",
        "deleted",
        "cancelled",
        "absences checked",
        "broken alone",
        "batches out of memory",
    }
    assert len(stacks.adapted) > 20
    assert max(stacks.embedded) > 1, "no bodies were asked together"


def test_a_storm_notices_answers_from_another_sessions_weights(tmp_path: Path) -> None:
    """The proof would be worth nothing if it could not fail: here the device mixes up the heads of two sessions."""
    with capture_logs(), storm(tmp_path, seed=1, seconds=2) as (blowing, engine):
        mixed_up = engine.predict

        def predict(model: object, tasks: list[PredictTask]) -> list[Ranked]:
            swapped = [
                replace(task, params=other.params, digest=other.digest)
                if len(task.params["head.bias"]) == len(other.params["head.bias"])
                else task
                for task, other in zip(tasks, [*tasks[1:], tasks[0]], strict=True)
            ]
            return mixed_up(model, swapped)  # type: ignore[arg-type, return-value]

        engine.predict = predict  # type: ignore[method-assign, assignment]
        asyncio.run(blowing.blow())
    assert "wrong answer" in blowing.wrong
