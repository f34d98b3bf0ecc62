"""README's commands are run as written, but for the port, and give the answers that it shows."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

RUN_ELSEWHERE = {
    "make serve": "the fixture below",
    "make test": "this is it",
    "make train": "takes minutes; the tests of training run it on a small configuration",
    "docker compose up -d --build": "needs a container engine",
}
READY_WITHIN = 180.0  # seconds: loading PyTorch on a busy machine
DIFFERS_EACH_TIME = {"session", "weights_digest", "milliseconds", "created_at", "expires_at"}
TOLERANCE = 0.02  # of a score: another machine sums in another order, and README rounds


@dataclass(frozen=True, slots=True)
class Step:
    """A block of commands or code, and the answer that README shows under it."""

    language: str
    text: str
    shown: str | None


def steps() -> list[Step]:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    answers = [*((text if language in {"json", "text"} else None) for language, text in blocks[1:]), None]
    return [Step(language, text, shown) for (language, text), shown in zip(blocks, answers, strict=True) if language in {"sh", "python"}]


STEPS = [step for step in steps() if step.text.strip() not in RUN_ELSEWHERE]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that `make serve` started, as README says it."""
    port = free_port()
    # When `make test` runs this, its own variables must not reach the inner make.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("w") as out:
        make = subprocess.Popen(
            ["make", "serve", f"PORT={port}"],
            cwd=ROOT,
            env=environment | {"INNERLOOP_DATA_DIR": str(log.parent)},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that make and the server can be stopped together
        )
        try:
            wait_until_ready(make, port, log)
            yield port
        finally:
            os.killpg(make.pid, signal.SIGTERM)
            make.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(make: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up = time.monotonic() + READY_WITHIN
    while make.poll() is None and time.monotonic() < give_up:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"`make serve` was not ready after {READY_WITHIN:.0f} s (exit {make.poll()}):\n{log.read_text()}")


@pytest.fixture(scope="module")
def answers(port: int) -> dict[Step, str]:
    """What each step prints. The shell steps share one shell, as for a reader who types them."""
    mark = "--- end of step ---"
    shell = [step for step in STEPS if step.language == "sh"]
    script = "".join(f"{step.text}\nprintf '\\n%s\\n' '{mark}'\n" for step in shell)
    printed = run(["bash", "-euo", "pipefail", "-c", script], port).split(mark)
    python = {step: run([sys.executable, "-c", step.text], port) for step in STEPS if step.language == "python"}
    return dict(zip(shell, printed, strict=False)) | python


def run(command: list[str], port: int) -> str:
    command = [part.replace("localhost:8000", f"localhost:{port}") for part in command]
    environment = os.environ | {"INNERLOOP_URL": f"http://localhost:{port}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alike(shown: Any, got: Any) -> bool:
    """Equal, but for what differs each time and for the last digits of numbers."""
    match shown, got:
        case dict(), dict():
            return shown.keys() == got.keys() and all(key in DIFFERS_EACH_TIME or alike(shown[key], got[key]) for key in shown)
        case list(), list():
            return len(shown) == len(got) and all(map(alike, shown, got))
        case int() | float(), int() | float():
            return abs(shown - got) <= TOLERANCE
        case _:
            return bool(shown == got)


def parsed(text: str) -> Any:
    """JSON as values; anything else as a list of its words and numbers, without the ids."""
    try:
        return json.loads(text)
    except ValueError:
        return [number(word) for word in re.findall(r"[0-9.]+|[^0-9.\s]+", re.sub(r"ses_[\w-]+", "ses_", text))]


def number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word


def asked_and_answered(step: Step) -> list[tuple[str, str]]:
    """The character that each query shows, by its file's name, and the label that README shows for it."""
    shown = step.shown or ""
    if shown.startswith("{"):
        asked = re.findall(r"queries/([a-z]+)-\d", step.text)
        return list(zip(asked, (prediction["label"] for prediction in json.loads(shown)["predictions"]), strict=True))
    return re.findall(r"([a-z]+)-\d\.png\W+([a-z]+)", shown)


def test_the_readme_shows_the_answer_of_every_step() -> None:
    assert [step.text for step in STEPS if step.shown is None] == []
    assert {step.language for step in STEPS} == {"sh", "python"}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.text.split("\n")[0])
def test_a_step_of_the_readme_gives_the_answer_that_it_shows(answers: dict[Step, str], step: Step) -> None:
    assert alike(parsed(step.shown or ""), parsed(answers[step])), f"README shows\n{step.shown}\nbut the answer is\n{answers[step]}"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.text.split("\n")[0])
def test_the_answers_that_the_readme_shows_are_right(step: Step) -> None:
    pairs = asked_and_answered(step)
    assert pairs
    assert [label for _, label in pairs] == [character for character, _ in pairs]


def test_an_answer_with_another_label_is_not_alike() -> None:
    shown = {"session": "ses_1", "predictions": [{"label": "kite", "score": 0.91}]}
    assert alike(shown, {"session": "ses_2", "predictions": [{"label": "kite", "score": 0.9}]})
    assert not alike(shown, {"session": "ses_2", "predictions": [{"label": "hook", "score": 0.91}]})
    assert not alike(shown, {"session": "ses_2", "predictions": [{"label": "kite", "score": 0.5}]})
    assert not alike(parsed("kite-1.png kite 0.91"), parsed("kite-1.png hook 0.91"))
