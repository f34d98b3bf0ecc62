"""Takes the pictures of docs/images: `python -m tests.ui.screenshots URL`, where URL is a running server with the shipped meta-models."""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, ViewportSize, expect, sync_playwright

from tests.ui.hands import Hands

IMAGES = Path(__file__).parents[2] / "docs" / "images"
COLOURS = 256  # of a palette: a third of the bytes, and no difference to the eye
WIDE, NARROW = ViewportSize(width=1280, height=1440), ViewportSize(width=390, height=844)


def take(browser: Browser, url: str, name: str, *, dark: bool = False, phone: bool = False) -> None:
    """Adapt to our own drawings, ask about one, and keep what is seen."""
    context = browser.new_context(
        viewport=NARROW if phone else WIDE,
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        is_mobile=phone,
        has_touch=phone,
    )
    page = context.new_page()
    page.goto(url)
    hands = Hands(page)
    hands.take_samples()
    hands.adapt()
    page.get_by_role("button", name="Ask about kite-query.png").click()
    expect(hands.guess).to_have_text("kite")
    page.evaluate("document.activeElement.blur()")
    page.evaluate("document.querySelector('#ask').scrollIntoView()" if phone else "scrollTo(0, 0)")
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.FASTOCTREE).save(IMAGES / f"{name}.png", optimize=True)
    page.request.delete(f"{url}/v1/sessions/{page.url.rpartition('/')[2]}")
    context.close()


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        take(browser, sys.argv[1], "playground")
        take(browser, sys.argv[1], "playground-dark", dark=True)
        take(browser, sys.argv[1], "playground-phone", phone=True)
        browser.close()


if __name__ == "__main__":
    main()
