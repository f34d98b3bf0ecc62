"""The list of sessions: opening by link, exporting, deleting."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, Route, expect

from innerloop import Client
from tests.ui.hands import SHAPES, Hands


def test_a_session_is_opened_again_by_its_link(page: Page, url: str, client: Client, support: Path) -> None:
    classes = {label: sorted((support / label).iterdir())[:2] for label in ("anchor", "kite")}
    session = client.adapt(None, classes, name="two characters")
    page.goto(f"{url}/#/session/{session.id}")
    hands = Hands(page)
    expect(hands.learned).to_contain_text("anchor (2), kite (2)")
    page.get_by_role("button", name="Ask about kite-query.png").click()
    expect(hands.guess).to_have_text("kite")
    expect(page.locator("#session-list .current")).to_contain_text("two characters")
    expect(page.locator("#adapt")).to_have_text("Adapt")
    expect(page.locator(".near li")).to_contain_text(["kite", "kite", "anchor", "anchor"])
    expect(page.locator(".near .unseen").first).to_have_text(re.compile("^#[34]$"))


def test_another_session_is_opened_from_the_list_and_back_returns(hands: Hands) -> None:
    hands.take_samples()
    first = hands.adapt()
    hands.page.get_by_role("button", name="Remove the class ladder").click()
    second = hands.adapt()
    hands.page.locator(f"#session-list a[href$={first}]").click()
    expect(hands.learned).to_contain_text("ladder (2)")
    hands.page.go_back()
    expect(hands.learned).to_contain_text(second)
    expect(hands.learned).not_to_contain_text("ladder")


def test_a_session_is_exported_as_the_file_that_the_client_exports(hands: Hands, client: Client) -> None:
    hands.take_samples()
    session = hands.adapt()
    with hands.page.expect_download() as download:
        hands.page.get_by_role("button", name=f"Export {session}").click()
    assert download.value.suggested_filename == f"{session}.safetensors"
    assert Path(download.value.path()).read_bytes() == client.session(session).export()


def test_a_deleted_session_leaves_the_list_and_the_page(hands: Hands, client: Client) -> None:
    hands.take_samples()
    session = hands.adapt()
    hands.page.get_by_role("button", name=f"Delete {session}").click()
    hands.page.get_by_role("button", name=f"Really delete {session}?").blur()
    hands.page.get_by_role("button", name=f"Delete {session}", exact=True).click()
    expect(hands.page.locator("#session-list")).to_contain_text(session)
    hands.page.get_by_role("button", name=f"Really delete {session}?").click()
    expect(hands.page.locator("#session-list")).not_to_contain_text(session)
    expect(hands.page.locator("#question")).to_be_hidden()
    assert session not in [each.id for each in client.sessions()]
    expect(hands.card(0).locator(".thumb")).to_have_count(2)


def test_a_session_whose_examples_were_not_kept_is_not_offered_to_grow(page: Page, url: str, client: Client, support: Path) -> None:
    session = client.adapt(None, {label: [support / label / "1.png"] for label in ("anchor", "kite")}, keep_support=False)
    page.goto(f"{url}/#/session/{session.id}")
    page.get_by_role("button", name="Ask about kite-query.png").click()
    expect(page.locator(".reply")).to_contain_text("cannot grow")
    answer = {"label": "kite", "score": 0.6, "top": [], "unfamiliar": True}
    page.route("**/predict", lambda route: route.fulfill(json={"predictions": [answer]}))
    page.get_by_role("button", name="Ask about anchor-query.png").click()
    expect(page.locator(".doubt")).to_have_text("Unlike every class you showed: take this guess with care.")
    expect(page.locator(".teach")).to_be_hidden()
    expect(page.locator(".nearest")).to_be_hidden()


def test_drawings_stay_when_another_model_of_pictures_is_chosen_and_the_address_forgets_the_session(hands: Hands, url: str) -> None:
    page = hands.page
    hands.take_samples()
    hands.adapt()
    expect(page.locator("#adapt")).to_have_text("Adapt again")
    page.locator("#model").select_option("shapes@1")
    expect(page.locator(".card .thumb")).to_have_count(10)
    assert page.url == f"{url}/"
    expect(page.locator("#question")).to_be_hidden()
    expect(page.locator("#adapt")).to_have_text("Adapt")
    page.go_back()
    expect(page.locator("#question")).to_be_visible()


def test_what_is_on_a_pad_stays_when_a_model_of_photos_is_chosen(page: Page, url: str) -> None:
    def answer(route: Route) -> None:
        models = route.fetch().json()["models"]
        for model in models:
            if model["name"] == "shapes":
                model["input"]["preprocessing"]["kind"] = "photo"
        route.fulfill(json={"models": models})

    page.route("**/v1/models", answer)
    page.goto(url)
    hands = Hands(page)
    hands.draw(hands.card(0).locator("canvas"), SHAPES["vee"])
    page.locator("#model").select_option("shapes@1")
    expect(hands.card(0).locator(".thumb")).to_have_count(1)
    expect(hands.card(0).locator("canvas")).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_contain_text("photos")


def test_a_copied_link_is_said_where_it_is_seen_and_moves_nothing(hands: Hands, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    hands.take_samples()
    hands.adapt()
    expect(hands.page.get_by_text("Or one of ours")).to_be_visible()  # they are fetched
    before = hands.page.locator("#ask").bounding_box()
    hands.page.get_by_role("button", name="Copy link").click()
    expect(hands.page.locator("#status")).to_have_text("Copied the link.")
    box = hands.page.locator("#status").bounding_box()
    assert box is not None
    assert box["height"] > 20
    assert box["y"] + box["height"] < 900
    assert hands.page.locator("#ask").bounding_box() == before
    hands.page.mouse.move(5, 5)
    hands.page.mouse.down()
    expect(hands.page.locator("#status")).to_have_class(re.compile("visually-hidden"))


def test_older_sessions_are_shown_when_they_are_asked_for(hands: Hands) -> None:
    session = {"model": "omniglot@3", "revision": 1, "labels": ["a", "b"], "pinned": True, "expires_at": None}
    pages = {"": range(30), "after=ses_29": range(30, 45)}

    def answer(route: Route) -> None:
        numbers = pages[urlsplit(route.request.url).query]
        found = [{"session": f"ses_{number}", "name": f"number {number}", **session} for number in numbers]
        route.fulfill(json={"sessions": found, "next": "ses_29" if len(found) == 30 else None})

    hands.page.route("**/v1/sessions*", answer)
    hands.page.get_by_role("button", name="Refresh").click()
    rows = hands.page.locator("#session-list li")
    expect(rows).to_have_count(20)
    expect(rows.first).to_contain_text("number 44")
    assert hands.page.evaluate("(({ scrollHeight, clientHeight }) => scrollHeight > clientHeight)(document.querySelector('.sessions'))")
    hands.page.get_by_role("button", name="Show older (25)").click()
    expect(rows).to_have_count(40)
    expect(hands.page.get_by_role("link", name="number 24", exact=True)).to_be_focused()
    hands.page.get_by_role("button", name="Show older (5)").click()
    expect(rows.last).to_contain_text("number 0")


def test_the_headline_says_what_the_model_takes(hands: Hands) -> None:
    title = hands.page.get_by_role("heading", level=1)
    expect(title).to_contain_text("Draw three things")
    hands.page.locator("#model").select_option("vectors@1")
    expect(title).to_contain_text("rows of numbers")
    hands.page.locator("#model").select_option("shapes@1")
    expect(title).to_contain_text("Draw three things")
