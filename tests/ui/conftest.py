import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from innerloop import Client
from service.learner.encoders.mlp import Mlp
from tests.e2e.server import ROOT, running
from tests.tiny import tiny_model, write_tiny
from tests.ui.hands import Hands

# A camera that shows a test picture, and asks nobody.
FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all tests of the page, closed with them: while it is open no other test can run an event loop."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium; on Debian, apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the shipped default, `vectors`, and two untrained meta-models: `pairs`, of two numbers, and `shapes`, of drawings."""
    store = tmp_path_factory.mktemp("store")
    for name in ("omniglot", "vectors"):
        (store / name).symlink_to(ROOT / "model_store" / name)
    write_tiny(store, "pairs", tiny_model(Mlp(inputs=2)))
    write_tiny(store, "shapes")
    with running(tmp_path_factory.mktemp("server"), store, store="memory") as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page on which no script may fail, and nothing be refused by the content security policy."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    assert wrong == []


@pytest.fixture
def hands(page: Page, url: str) -> Hands:
    """The page, opened, with no examples yet."""
    page.goto(url)
    page.locator(".card").first.wait_for()
    return Hands(page)


@pytest.fixture
def support() -> Path:
    return ROOT / "examples" / "characters" / "support"
