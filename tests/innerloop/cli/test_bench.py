import json

import pytest

from innerloop.cli import bench
from innerloop.load import Load
from tests.innerloop.cli.conftest import Command
from tests.innerloop.server import FakeServer

FAST = ("--seconds", "0.2", "--callers", "2")


def test_bench_measures_both_and_leaves_nothing(command: Command, server: FakeServer, url: str) -> None:
    result = command("bench", *FAST, "--url", url, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["model"], told["way"], told["shot"], told["callers"]) == ("omniglot@1", 5, 1, 2)
    for what in ("adaptations", "predictions"):
        facts = told[what]
        assert facts["per_second"] == pytest.approx(facts["calls"] / facts["seconds"], rel=0.01)
        assert 0 < facts["p50_ms"] <= facts["p95_ms"] <= facts["p99_ms"]
    assert server.made > 0
    assert server.sessions == {}


def test_bench_shows_a_table_that_fits_a_narrow_terminal(command: Command, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = command("bench", *FAST, "--url", url).stdout
    assert "omniglot@1, 5-way 1-shot, 2 at a time" in shown
    assert "adaptations" in shown
    assert "predictions" in shown


@pytest.mark.parametrize(("own_cpu", "told"), [(0.95, True), (0.3, False)])
def test_a_client_that_measures_itself_says_so(capsys: pytest.CaptureFixture[str], own_cpu: float, told: bool) -> None:
    bench._show({"predictions": Load([0.001], 0, 1.0, own_cpu)}, "title")
    assert ("This client used most of a core itself" in capsys.readouterr().out) == told
