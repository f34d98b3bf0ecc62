"""The page by keyboard, by screen reader, on a phone, in the dark, and offline but for its own server."""

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from innerloop import Client
from tests.ui.hands import SHAPES, Hands

MOST_TABS = 120


def tab_to(page: Page, wanted: Callable[[], bool]) -> None:
    """Press Tab until the focus is where it is wanted; a place that Tab does not reach fails."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if wanted():
            return
    raise AssertionError(f"not reached in {MOST_TABS} presses of Tab")


def focused(page: Page, selector: str) -> Callable[[], bool]:
    return lambda: bool(page.evaluate("selector => document.activeElement.matches(selector)", selector))


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


# Strokes of the arrow keys from the middle of a pad.
STRAIGHT = ["Space", *["ArrowRight"] * 9, "Space"]
ANGLE = ["Space", *["ArrowDown"] * 9, *["ArrowRight"] * 9, "Space"]


def test_everything_is_done_by_keyboard_alone(hands: Hands) -> None:
    page = hands.page
    tab_to(page, focused(page, ".skip"))
    press(page, "Enter")
    for place, strokes in enumerate((STRAIGHT, ANGLE)):
        tab_to(page, focused(page, ".card canvas"))
        press(page, *strokes, "Enter")
        expect(hands.card(place).locator(".thumb")).to_have_count(1)
    tab_to(page, focused(page, "#adapt"))
    press(page, "Enter")
    expect(hands.pad).to_be_visible()
    tab_to(page, focused(page, "#question canvas"))
    press(page, *ANGLE)
    expect(hands.guess).to_have_text("second thing")
    tab_to(page, focused(page, ".chips button:nth-child(2)"))
    press(page, "Enter")
    expect(hands.learned).to_contain_text("revision 2")
    expect(page.locator("#status")).to_contain_text("one more example")


def test_the_pen_begins_in_the_middle_of_every_drawing_and_an_added_one_is_announced(hands: Hands) -> None:
    page = hands.page
    hands.card(0).locator("canvas").focus()
    press(page, *ANGLE, "Enter")
    expect(page.locator("#status")).to_have_text("Added a drawing to first thing: 1 example.")
    press(page, *ANGLE, "Enter")
    expect(page.locator("#status")).to_have_text("Added a drawing to first thing: 2 examples.")
    one, two = (picture.get_attribute("src") for picture in hands.card(0).locator(".thumb img").all())
    assert one == two


def test_the_chip_that_the_model_grew_by_keeps_the_focus(hands: Hands) -> None:
    hands.take_samples()
    hands.adapt()
    hands.page.get_by_role("button", name="Ask about kite-query.png").click()
    chip = hands.page.locator(".chips").get_by_role("button", name="kite")
    chip.focus()
    press(hands.page, "Enter")
    expect(hands.learned).to_contain_text("revision 2")
    expect(chip).to_be_focused()
    hands.page.get_by_role("textbox", name="Name of a new class").fill("boat")
    press(hands.page, "Enter")
    expect(hands.learned).to_contain_text("revision 3")
    assert hands.page.locator(".chips button").all_inner_texts() == ["anchor", "boat", "comet", "hook", "kite", "ladder"]


def test_a_stroke_is_taken_back_by_backspace(hands: Hands) -> None:
    hands.draw(hands.card(0).locator("canvas"), SHAPES["cross"])
    for _ in SHAPES["cross"]:
        hands.page.keyboard.press("Backspace")
    expect(hands.card(0).locator(".placeholder")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_at_any_stage(hands: Hands, scheme: str) -> None:
    page = hands.page
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    axe = Axe()
    found = [axe.run(page)]
    hands.page.locator("#adapt").click()
    expect(hands.alert).to_be_visible()
    found.append(axe.run(page))
    hands.take_samples()
    hands.adapt()
    hands.page.get_by_role("button", name="Ask about kite-query.png").click()
    expect(hands.guess).to_have_text("kite")
    hands.page.get_by_text("Options").click()
    found.append(axe.run(page))
    page.locator("#model").select_option("pairs@1")
    found.append(axe.run(page))
    assert [each.generate_report() for each in found if each.violations_count] == []


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_never_scrolls_sideways(browser: Browser, url: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, is_mobile=True, has_touch=True, reduced_motion="reduce")
    page = context.new_page()
    page.goto(url)
    hands = Hands(page)
    page.locator(".card").first.wait_for()
    hands.take_samples()
    hands.name(0, "a label so long that it would reach from one end of a narrow screen to the other")
    hands.adapt()
    page.get_by_role("button", name="Ask about kite-query.png").tap()
    expect(hands.guess).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    context.close()


def test_a_finger_draws_and_does_not_scroll(browser: Browser, url: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, is_mobile=True, has_touch=True, reduced_motion="reduce")
    page = context.new_page()
    page.goto(url)
    pad = page.locator(".card canvas").first
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    before = page.evaluate("scrollY")
    touch = context.new_cdp_session(page)
    for kind, down in (("touchStart", 0.2), ("touchMove", 0.5), ("touchMove", 0.9), ("touchEnd", None)):
        points = [] if down is None else [{"x": box["x"] + box["width"] / 2, "y": box["y"] + down * box["height"]}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert page.evaluate("scrollY") == before
    page.locator(".card").first.get_by_text("Add", exact=True).click()
    expect(page.locator(".card").first.locator(".thumb")).to_have_count(1)
    context.close()


def test_nothing_is_asked_of_any_other_server(page: Page, url: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    hands = Hands(page)
    hands.take_samples()
    hands.adapt()
    assert asked
    assert [address for address in asked if not address.startswith((f"{url}/", "data:"))] == []


LONG = "Donaudampfschifffahrtsgesellschaft" * 5


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_without_spaces_stay_within_the_page(browser: Browser, url: str, client: Client, support: Path, width: int) -> None:
    classes = {f"{label}{LONG}"[:200]: sorted((support / label).iterdir())[:2] for label in ("anchor", "kite")}
    session = client.adapt(None, classes, name=f"name{LONG}"[:200])
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{url}/#/session/{session.id}")
    hands = Hands(page)
    with page.expect_file_chooser() as chosen:
        page.locator("#question").get_by_role("button", name="File", exact=True).click()
    chosen.value.set_files(support / "kite" / "3.png")
    expect(hands.guess).to_contain_text("kite")
    expect(page.locator("#session-list")).to_contain_text("Donau")
    hands.name(0, LONG)
    hands.show(0, "vee")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    wide = page.evaluate(
        """() => [...document.querySelectorAll(".step")].flatMap((step) => {
          const edge = step.getBoundingClientRect().right;
          const sideways = (node) => node.closest("pre, .bars .label, .near, .chip, .visually-hidden, .thumb");
          return [...step.querySelectorAll("*")].filter((node) => !sideways(node) && node.getBoundingClientRect().right > edge + 1);
        }).map((node) => node.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    context.close()
    session.delete()
