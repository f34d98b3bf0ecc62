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
    expect(adapted.alert).to_contain_text("This session has expired: press Adapt to make a new one from the examples on this page.")
    assert first not in adapted.page.url
    expect(adapted.page.locator("#question")).to_be_hidden()
    assert adapted.adapt() != first
    expect(adapted.alert).to_be_hidden()
    expect(adapted.page.locator("#question")).to_be_visible()


def test_a_link_to_a_session_that_never_was_says_so(page: Page, url: str) -> None:
    for wrong in (f"ses_{'0' * 32}", "kite"):
        page.goto(f"{url}/#/session/{wrong}")
        expect(page.locator("#alert")).to_contain_text(f"No session {wrong} is here: the link is mistyped, or of another server.")
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


def test_a_deleted_session_is_said_to_be_in_one_sentence_for_a_person(adapted: Hands, client: Client) -> None:
    session = adapted.page.url.rpartition("/")[2]
    client.session(session).delete()
    adapted.page.locator(".samples .thumb").first.click()
    expect(adapted.alert.locator("p")).to_have_text(
        "This session was deleted: press Adapt to make a new one from the examples on this page."
    )
    adapted.page.evaluate("id => location.hash = `#/session/${id}`", session)
    expect(adapted.alert.locator("p")).to_have_text(f"The session {session} of this link was deleted.")


def test_a_class_without_a_name_is_refused_before_anything_is_sent(hands: Hands) -> None:
    hands.show(0, "vee")
    hands.show(1, "cross")
    hands.name(1, "  ")
    sent: list[str] = []
    hands.page.on("request", lambda request: sent.append(request.url))
    hands.page.locator("#adapt").click()
    expect(hands.alert).to_contain_text("Give the class a name")
    assert sent == []


def test_steps_are_whole_or_refused_in_words(hands: Hands) -> None:
    hands.take_samples()
    hands.page.get_by_text("Options").click()
    hands.page.get_by_label("Inner steps").fill("1.5")
    hands.page.locator("#adapt").click()
    expect(hands.alert).to_contain_text("Inner steps: expected a whole number, got 1.5.")


def test_too_many_steps_are_refused_in_the_servers_words(hands: Hands) -> None:
    hands.take_samples()
    hands.page.get_by_text("Options").click()
    hands.page.get_by_label("Inner steps").fill("99")
    hands.page.locator("#adapt").click()
    expect(hands.alert).to_contain_text("99")
