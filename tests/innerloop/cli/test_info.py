import json

from innerloop.wire import ErrorRow, ModelInfo, ModelList
from tests.innerloop.cli.conftest import Command
from tests.innerloop.server import INFO, OMNIGLOT, FakeServer, answer


def test_a_server_says_what_it_is_and_serves(command: Command, server: FakeServer, url: str) -> None:
    vectors = OMNIGLOT.model_copy(update={"name": "table", "default": False, "input": {"kind": "vector", "length": 3}, "evaluation": ()})
    damaged = ModelInfo(name="damaged", version=2, default=False, status="refused", reason="another sha256")
    server.refusals["GET", "/v1/models"] = answer(ModelList(models=(damaged, OMNIGLOT, vectors)))
    shown = command("info", "--url", url).stdout
    assert f"Innerloop 0.1.0 at {url}, computing on cpu, sessions kept in memory" in shown
    assert "64 MiB, 10,000 examples of 1,000 classes, 10,000 queries" in shown
    rows = {line.split()[1]: line for line in shown.splitlines() if "@" in line}
    assert "refused: another sha256" in rows["damaged@2"]
    assert "(default)" in rows["omniglot@1"]
    assert "5-way 1-shot 97.00% ± 1.00%" in rows["omniglot@1"]
    assert "vector of 3" in rows["table@1"]


def test_figures_measured_on_several_data_name_them(command: Command, server: FakeServer, url: str) -> None:
    (row,) = OMNIGLOT.evaluation
    twice = OMNIGLOT.model_copy(update={"evaluation": (row, row.model_copy(update={"data": "turned", "accuracy": 0.98}))})
    error = ErrorRow(data="waves", shot=5, scope="head", steps=10, squared_error=0.25, ci95=0.01, median=0.2, episodes=9, queries=9)
    waves = OMNIGLOT.model_copy(update={"name": "waves", "default": False, "evaluation": (), "errors": (error,)})
    server.refusals["GET", "/v1/models"] = answer(ModelList(models=(twice, waves)))
    shown = command("info", "--url", url).stdout
    assert "97.00% ± 1.00% on x" in shown
    assert "98.00% ± 1.00% on turned" in shown
    assert "5 shots, 10 steps: squared error 0.250 ± 0.010 " in shown


def test_json_has_the_servers_answers(command: Command, url: str) -> None:
    told = json.loads(command("info", "--url", url, "--json").stdout)
    assert told.pop("models") == [OMNIGLOT.model_dump(mode="json")]
    assert told == INFO.model_dump(mode="json")


def test_a_server_without_a_default_says_that_a_model_must_be_named(command: Command, server: FakeServer, url: str) -> None:
    server.refusals["GET", "/v1/info"] = answer(INFO.model_copy(update={"default_model": None}))
    assert "--model must name one" in command("info", "--url", url).stdout
