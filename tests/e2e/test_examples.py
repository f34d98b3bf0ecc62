"""The scripts under examples/ run as written, against a server with the shipped meta-model."""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from innerloop import Client
from tests.e2e.server import ROOT, running

NOT_FOR_USERS = {"draw.py"}  # makes the drawings; tests/test_examples.py runs it


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("server"), ROOT / "model_store") as server:
        yield server.url


def printed(script: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_drawings_are_told_apart_and_a_class_is_added(url: str) -> None:
    told = printed("drawings.py", url)
    assert "omniglot@3 adapted to 25 drawings of anchor, comet, hook, kite, ladder" in told
    assert "15 of 15 new drawings are told apart" in told
    assert re.search(r"revision 2 knows anchor, buoy, .* and takes anchor-1.png for: buoy 0\.\d\d", told)


def test_many_sessions_are_adapted_asked_and_deleted(url: str) -> None:
    told = printed("thousand_sessions.py", url, 200)
    found = re.search(r"200 sessions adapted and asked in .* s, .* a second; (\d+) answers are right\n200 sessions deleted", told)
    assert found, told
    assert int(found[1]) >= 198
    with Client(url) as client:
        assert list(client.sessions()) == []


def test_a_wave_is_predicted_from_ten_points(url: str) -> None:
    told = printed("sinusoid.py", url)
    assert re.search(r"sinusoid@\d+ adapted to 10 points: loss \d\.\d\d before, 0\.\d+ after", told)
    found = re.findall(r"x = +(\S+): +(\S+), the wave is +(\S+)", told)
    assert len(found) == 4
    assert all(abs(float(predicted) - float(truth)) < 1 for _, predicted, truth in found)


def test_photographs_of_unseen_things_are_told_apart(url: str, data_root: Path, tmp_path: Path) -> None:
    data = data_root / "caltech101"
    unseen = ["dollar_bill", "laptop", "sunflower"]
    assert set(unseen) <= set(json.loads((data / "splits.json").read_text(encoding="utf-8"))["test"])
    with zipfile.ZipFile(data / "caltech101_84x84.zip") as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.split("/")[1] in unseen])
    told = printed("photos.py", tmp_path / "caltech101_84x84", url)
    assert re.search(rf"photos@\d+ learned {', '.join(unseen)} from 5 pictures of each", told)
    found = re.search(r"(\d+) of (\d+) other pictures are told apart", told)
    assert found, told
    assert int(found[1]) / int(found[2]) > 0.6  # a third by chance
    assert re.search(r"looks most like picture \d+, of \w+", told)


def test_every_script_is_run_here() -> None:
    scripts = {path.name for path in (ROOT / "examples").glob("*.py")} - NOT_FOR_USERS
    here = (ROOT / "tests" / "e2e" / "test_examples.py").read_text()
    assert [name for name in scripts if f'printed("{name}"' not in here] == []
