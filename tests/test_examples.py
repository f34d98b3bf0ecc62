"""The drawings under examples/ are what examples/draw.py draws; examples/photos.py says what it cannot work with."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from innerloop import ApiError
from tests.innerloop.conftest import server, url  # noqa: F401 - fixtures
from tests.innerloop.server import FakeServer, problem

EXAMPLES = Path(__file__).parents[1] / "examples"
CHARACTERS = ("anchor", "comet", "hook", "kite", "ladder")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / "draw.py"))


def pixels(image: Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(image, dtype=np.float64)


def committed(name: str) -> list[Path]:
    characters = EXAMPLES / "characters"
    return [*sorted((characters / "support" / name).glob("*.png")), *sorted((characters / "queries").glob(f"{name}-*.png"))]


def test_every_character_has_five_support_drawings_and_three_queries() -> None:
    files = sorted(file.relative_to(EXAMPLES / "characters").as_posix() for file in EXAMPLES.rglob("*.png"))
    support = [f"support/{name}/{number}.png" for name in CHARACTERS for number in range(1, 6)]
    queries = [f"queries/{name}-{number}.png" for name in CHARACTERS for number in range(1, 4)]
    assert files == sorted(support + queries)


@pytest.mark.parametrize("name", CHARACTERS)
def test_the_committed_drawings_are_the_ones_the_script_draws(script: dict[str, Any], name: str) -> None:
    seeds = [f"support {number}" for number in range(1, 6)] + [f"query {number}" for number in range(1, 4)]
    for file, seed in zip(committed(name), seeds, strict=True):
        drawn, kept = script["draw"](name, seed), Image.open(file)
        assert drawn.size == kept.size, file
        # One grey level on average: another maths library may round an edge pixel differently.
        assert np.abs(pixels(drawn) - pixels(kept)).mean() <= 1, file


def test_no_two_drawings_of_a_character_are_alike() -> None:
    for name in CHARACTERS:
        shrunk = [pixels(Image.open(file).resize((64, 64))) for file in committed(name)]
        for i, one in enumerate(shrunk):
            assert all(np.abs(one - other).mean() > 5 for other in shrunk[i + 1 :]), name


def test_drawings_are_black_on_white_with_grey_edges() -> None:
    for file in EXAMPLES.rglob("*.png"):
        with Image.open(file) as image:
            assert image.mode == "L"
            assert 105 <= image.width == image.height <= 160
            assert image.getextrema() == (0, 255)
            assert len(image.getcolors() or ()) > 20


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in [*(f"cat/{n}.png" for n in range(6)), *(f"dog/{n}.png" for n in range(7)), "dog/.hidden"]:
        file = tmp_path / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return tmp_path / "pictures"


@pytest.mark.parametrize("arguments", [[], ["a", "b", "c"]])
def test_photos_without_its_folder_prints_how_it_is_used(arguments: list[str]) -> None:
    script = str(EXAMPLES / "photos.py")
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"usage: python {script} FOLDER [URL]\n")


def test_photos_names_the_things_with_too_few_pictures_before_anything_is_sent(
    pictures: Path,
    server: FakeServer,  # noqa: F811 - the fixture
    url: str,  # noqa: F811
) -> None:
    main = runpy.run_path(str(EXAMPLES / "photos.py"))["main"]
    (pictures / "cat" / "5.png").unlink()
    with pytest.raises(SystemExit, match=r"at least 6 pictures of each thing in .*pictures: cat has 5; add some"):
        main(pictures, url)
    with pytest.raises(SystemExit, match="expected a folder at"):
        main(pictures / "none", url)
    assert server.requests == []


def test_photos_leaves_no_session_behind(
    pictures: Path,
    server: FakeServer,  # noqa: F811
    url: str,  # noqa: F811
) -> None:
    main = runpy.run_path(str(EXAMPLES / "photos.py"))["main"]
    main(pictures, url)
    assert (server.made, server.sessions) == (1, {})
    server.refusals["POST", "/v1/sessions/ses_1/predict"] = problem("broken_image")
    with pytest.raises(ApiError):
        main(pictures, url)
    assert (server.made, server.sessions) == (2, {})
