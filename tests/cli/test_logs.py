import json
import sys

import pytest
import structlog

from service.cli.logs import configure_logs


@pytest.fixture(autouse=True)
def _logs_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    structlog.get_logger().info("said", place=3)
    structlog.reset_defaults()
    return capsys.readouterr().err.splitlines()


def test_where_a_person_is_looking_lines_are_for_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure_logs("auto")
    (line,) = lines(capsys)
    assert "said" in line
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


@pytest.mark.parametrize(("form", "looking"), [("auto", False), ("json", True), ("json", False)])
def test_otherwise_or_when_asked_every_line_is_json(
    form: str, looking: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: looking)
    configure_logs(form, worker=2)  # type: ignore[arg-type] # a parameter of a test is any str
    (line,) = map(json.loads, lines(capsys))
    assert (line["event"], line["place"], line["level"], line["worker"]) == ("said", 3, "info", 2)
