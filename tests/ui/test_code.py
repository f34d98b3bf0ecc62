"""The code that the page shows makes the calls that it made."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from innerloop import Client
from tests.ui.hands import SHAPES, Hands


@pytest.fixture
def grown(hands: Hands, context: BrowserContext, support: Path, tmp_path: Path) -> Hands:
    """Adapted to a drawing and two files, asked, grown by the question under a label that no shell takes kindly, and asked again."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    hands.name(0, "vee")
    hands.show(0, "vee")
    hands.name(1, "a kite's")
    file = tmp_path / "my kite.png"
    file.write_bytes((support / "kite" / "1.png").read_bytes())
    hands.give(1, [file])
    hands.adapt()
    hands.draw(hands.pad, SHAPES["cross"])
    expect(hands.guess).to_be_visible()
    hands.page.get_by_role("textbox", name="Name of a new class").fill('$HOME `a` \\ "é"')
    hands.page.get_by_role("button", name="Add class", exact=True).click()
    expect(hands.guess).to_have_text('$HOME `a` \\ "é"')
    return hands


def copied(hands: Hands, title: str) -> str:
    hands.page.get_by_role("button", name=f"Copy as {title}").click()
    expect(hands.page.locator("#status")).to_have_text(f"Copied {title}.")
    return str(hands.page.evaluate("navigator.clipboard.readText()"))


def test_the_curl_commands_run_and_give_what_the_page_got(grown: Hands, client: Client, tmp_path: Path) -> None:
    commands = copied(grown, "curl")
    shown = client.session(grown.page.url.rpartition("/")[2])
    created, _, rest = commands.partition("\n\n")
    made = json.loads(subprocess.run(["bash", "-c", created], cwd=tmp_path, capture_output=True, check=True).stdout)
    rest = rest.replace(shown.id, made["session"])
    done = subprocess.run(["bash", "-c", rest], cwd=tmp_path, capture_output=True, check=True, text=True).stdout
    _, grew, answer = json.loads("[" + re.sub(r"\}\s*\{", "},{", done) + "]")
    assert grew["weights_digest"] == shown.info.weights_digest == answer["weights_digest"]
    assert answer["predictions"][0]["label"] == '$HOME `a` \\ "é"'
    assert answer["predictions"][0]["nearest"][0]["id"] == 3


def test_the_nearest_examples_are_asked_for_in_the_code_as_on_the_page(grown: Hands) -> None:
    assert '"nearest": 4' in copied(grown, "curl")
    grown.page.get_by_role("radio", name="Python").check()
    assert "nearest=4" in copied(grown, "Python")


def test_the_python_program_runs_and_gives_what_the_page_got(grown: Hands, client: Client, tmp_path: Path) -> None:
    grown.page.get_by_role("radio", name="Python").check()
    program = copied(grown, "Python") + "\nprint(session.info.weights_digest)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True, text=True).stdout
    assert done.splitlines()[-1] == client.session(grown.page.url.rpartition("/")[2]).info.weights_digest


def test_pictures_are_short_on_the_screen(grown: Hands) -> None:
    shown = grown.page.locator("#snippets pre").inner_text()
    assert "iVBORw0KGgoAAAAN…" in shown
    assert "base64 < 'my kite.png'" in shown
    assert len(shown) < 2000


def test_a_line_of_code_is_shown_for_an_opened_session(hands: Hands, client: Client, support: Path) -> None:
    session = client.adapt(None, {label: [support / label / "1.png"] for label in ("anchor", "kite")})
    hands.page.goto(f"{hands.page.url}#/session/{session.id}")
    expect(hands.page.locator("#snippets pre")).to_contain_text(f"/v1/sessions/{session.id}")
