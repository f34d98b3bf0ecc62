"""What a person reads when something fails, and what the page does next."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from innerloop import Client
from tests.e2e.server import running
from tests.tiny import write_tiny
from tests.ui.hands import SHAPES, Hands


@pytest.fixture
def adapted(hands: Hands) -> Hands:
    hands.take_samples()
    hands.adapt()
    hands.page.locator(".samples .thumb").first.wait_for()
    return hands


def test_nothing_is_sent_before_there_are_two_classes(hands: Hands) -> None:
    hands.page.locator("#adapt").click()
    expect(hands.alert).to_contain_text("at least two different things")
    hands.show(0, "vee")
    hands.page.locator("#adapt").click()
    expect(hands.alert).to_contain_text("at least two different things")


def test_a_session_that_expired_is_said_to_be_gone_and_is_made_anew_in_one_click(adapted: Hands, client: Client) -> None:
    first = adapted.page.url.rpartition("/")[2]
    client.session(first).change(ttl_seconds=0.05)
    adapted.page.wait_for_timeout(100)
    adapted.page.locator(".samples .thumb").first.click()
    expect(adapted.alert).to_contain_text("expired")
    expect(adapted.alert).to_contain_text("Press Adapt to make a new one")
    expect(adapted.page.locator("#question")).to_be_hidden()
    assert adapted.adapt() != first
    expect(adapted.alert).to_be_hidden()
    expect(adapted.page.locator("#question")).to_be_visible()


def test_a_link_to_a_session_that_never_was_says_so(page: Page, url: str) -> None:
    page.goto(f"{url}/#/session/ses_{'0' * 32}")
    expect(page.locator("#alert")).to_contain_text("ses_000")
    expect(page.locator("#question")).to_be_hidden()


def test_a_server_that_is_down_is_said_to_be(page: Page, tmp_path: Path) -> None:
    write_tiny(tmp_path / "store", "omniglot")
    with running(tmp_path, tmp_path / "store", store="memory") as server:
        page.goto(server.url)
        hands = Hands(page)
        hands.show(0, "vee")
        hands.show(1, "cross")
        hands.adapt()
        server.stop()
        hands.draw(hands.pad, SHAPES["vee"])
        expect(hands.alert).to_contain_text("The server does not answer")
        page.locator("#adapt").click()
        expect(hands.alert).to_contain_text("The server does not answer")
        expect(hands.card(0).locator(".thumb")).to_have_count(1)


def test_a_refusal_without_a_problem_document_is_said_in_words_too(hands: Hands) -> None:
    hands.page.route("**/v1/sessions", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    hands.take_samples()
    hands.page.locator("#adapt").click()
    expect(hands.alert).to_contain_text("The server answered 502")


def test_too_many_steps_are_refused_in_the_servers_words(hands: Hands) -> None:
    hands.take_samples()
    hands.page.get_by_text("Options").click()
    hands.page.get_by_label("Inner steps").fill("99")
    hands.page.locator("#adapt").click()
    expect(hands.alert).to_contain_text("99")
