import io
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from innerloop.cli import progress
from innerloop.inputs import to_wire


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What somebody would see."""
    seen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=seen, force_terminal=True, width=100, color_system=None))
    return seen


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"{n}.png" for n in range(60)]
    for file in made:
        file.write_bytes(b"x")
    return made


def test_a_bar_moves_as_files_are_read(terminal: io.StringIO, files: list[Path]) -> None:
    with progress.reading_queries(files) as queries:
        assert [to_wire(query) for query in queries] == [to_wire(file) for file in files]
    assert "predicting" in terminal.getvalue()
    assert "60/60" in terminal.getvalue()


def test_files_of_a_zip_move_it_too(terminal: io.StringIO, files: list[Path]) -> None:
    support: Mapping[str, Sequence[Path | bytes]] = {"a": files[:30], "b": [b"y"] * 30}
    with progress.reading_support(support) as watched:
        sent = {label: [to_wire(one) for one in inputs] for label, inputs in watched.items()}
    assert sent == {label: [to_wire(one) for one in inputs] for label, inputs in support.items()}
    assert "60/60" in terminal.getvalue()


def test_a_few_files_are_not_worth_a_bar(terminal: io.StringIO, files: list[Path]) -> None:
    with progress.reading_queries(files[:9]) as queries:
        assert queries == files[:9]
    assert terminal.getvalue() == ""


def test_time_moves_a_bar(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_TICK", 0.01)
    give_up = time.monotonic() + 10
    with progress.ticking("measuring", seconds=6):
        while not re.search(r" [1-9]\d*/6 ", terminal.getvalue()) and time.monotonic() < give_up:
            time.sleep(0.01)
    assert time.monotonic() < give_up, terminal.getvalue()


def test_nothing_is_drawn_where_nobody_looks(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.reading_queries(files) as queries:
        list(map(to_wire, queries))
    assert capsys.readouterr() == ("", "")
