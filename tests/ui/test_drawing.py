"""Drawing, adapting, asking and growing, in a browser, with the meta-model that is shipped."""

import base64
import io
import re

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from innerloop import Client
from tests.ui.hands import SHAPES, Hands


@pytest.fixture
def taught(hands: Hands) -> Hands:
    """Three shapes, drawn twice each and adapted to."""
    for place, shape in enumerate(SHAPES):
        hands.name(place, shape)
        hands.show(place, shape)
        hands.show(place, shape, shift=0.06)
    hands.adapt()
    return hands


def test_three_shapes_drawn_twice_each_are_told_apart(taught: Hands) -> None:
    for shape in SHAPES:
        taught.page.get_by_role("button", name="Clear").last.click()
        taught.draw(taught.pad, SHAPES[shape], shift=-0.05)
        expect(taught.guess).to_have_text(shape)
        expect(taught.page.locator(".bars li").first).to_contain_text(shape)


def test_the_answer_comes_while_the_pen_is_still_down(taught: Hands) -> None:
    box = taught.pad.bounding_box()
    assert box is not None
    taught.page.mouse.move(box["x"] + 30, box["y"] + 30)
    taught.page.mouse.down()
    taught.page.mouse.move(box["x"] + 30, box["y"] + 150, steps=5)
    expect(taught.guess).to_be_visible()
    taught.page.mouse.move(box["x"] + 170, box["y"] + 150, steps=5)
    expect(taught.guess).to_have_text("corner")
    taught.page.mouse.up()


def test_adapting_shows_the_loss_the_time_the_accuracy_and_the_session(taught: Hands, client: Client) -> None:
    session = client.session(taught.page.url.rpartition("/")[2])
    assert session.info.shots == {"corner": 2, "cross": 2, "vee": 2}
    expect(taught.learned.locator(".loss-dots circle")).to_have_count(len(session.info.losses))
    expect(taught.learned.locator("svg[role=img]")).to_have_attribute(
        "aria-label", re.compile(r"^Loss on your examples: .*; guessing would be 1\.1\.$")
    )
    expect(taught.learned).to_contain_text("100 % guessed rightly from the others")
    expect(taught.learned).to_contain_text(session.id)
    expect(taught.learned).to_contain_text("in 60 minutes")
    expect(taught.learned).to_contain_text(" ms (")


def test_what_is_drawn_but_not_added_is_adapted_to_all_the_same(hands: Hands, client: Client) -> None:
    for place, shape in enumerate(SHAPES):
        hands.draw(hands.card(place).locator("canvas"), SHAPES[shape])
    assert client.session(hands.adapt()).info.shots == {"first thing": 1, "second thing": 1, "third thing": 1}


def test_steps_and_lifetime_are_those_chosen(hands: Hands, client: Client) -> None:
    hands.take_samples()
    hands.page.get_by_text("Options").click()
    hands.page.get_by_label("Inner steps").fill("2")
    hands.page.get_by_label("Keep the session for").select_option("10 minutes")
    session = client.session(hands.adapt()).info
    assert session.steps == 2
    assert session.expires_at is not None
    assert round((session.expires_at - session.created_at).total_seconds()) == 600


def test_the_model_grows_by_what_was_asked_in_one_click(taught: Hands, client: Client) -> None:
    taught.draw(taught.pad, SHAPES["vee"])
    expect(taught.guess).to_have_text("vee")
    taught.page.locator(".chips").get_by_role("button", name="vee").click()
    expect(taught.learned).to_contain_text("revision 2")
    assert client.session(taught.page.url.rpartition("/")[2]).info.shots == {"corner": 2, "cross": 2, "vee": 3}
    expect(taught.card(2).locator(".thumb")).to_have_count(3)


def test_the_model_grows_by_a_new_class_and_knows_it_at_once(taught: Hands) -> None:
    taught.draw(taught.pad, [((0.2, 0.5), (0.8, 0.5)), ((0.2, 0.3), (0.8, 0.3)), ((0.2, 0.7), (0.8, 0.7))])
    expect(taught.guess).to_be_visible()
    taught.page.get_by_role("textbox", name="Name of a new class").fill("stripes")
    taught.page.get_by_role("button", name="Add class", exact=True).click()
    expect(taught.learned).to_contain_text("revision 2")
    expect(taught.guess).to_have_text("stripes")
    expect(taught.card(3).get_by_role("textbox", name="Name of the class")).to_have_value("stripes")


def test_a_drawing_can_be_taken_back_and_a_class_removed(hands: Hands) -> None:
    hands.show(0, "vee")
    hands.card(0).get_by_role("button", name="Remove first thing-1.png").click()
    expect(hands.card(0).locator(".thumb")).to_have_count(0)
    hands.page.get_by_role("button", name="Remove the class second thing").click()
    expect(hands.page.locator(".card")).to_have_count(2)
    hands.page.get_by_role("button", name="Add a class", exact=True).click()
    expect(hands.page.locator(".card")).to_have_count(3)
    expect(hands.card(2).get_by_role("textbox", name="Name of the class")).to_be_focused()


def test_our_own_drawings_are_learned_and_recognised(hands: Hands) -> None:
    hands.take_samples()
    hands.adapt()
    for character in ("anchor", "comet", "kite", "hook", "ladder"):
        hands.page.get_by_role("button", name=f"Ask about {character}-query.png").click()
        expect(hands.guess).to_have_text(character)


def nearest(hands: Hands) -> Locator:
    return hands.page.locator(".near li")


def test_the_nearest_examples_are_shown_with_the_pictures_that_were_sent(hands: Hands) -> None:
    hands.take_samples()
    hands.adapt()
    hands.page.get_by_role("button", name="Ask about kite-query.png").click()
    expect(nearest(hands)).to_have_count(4)
    kites = [picture.get_attribute("src") for picture in hands.card(2).locator(".thumb img").all()]
    assert sorted(picture.get_attribute("src") or "" for picture in nearest(hands).locator("img").all()[:2]) == sorted(map(str, kites))
    expect(nearest(hands).first).to_have_text("kite")
    expect(nearest(hands).first.locator("img")).to_have_attribute("alt", re.compile(r"^Example [56]:$"))
    hands.page.get_by_role("button", name="Clear").last.click()
    expect(nearest(hands)).to_have_count(0)


def test_what_the_model_grew_by_is_nearest_to_itself(taught: Hands) -> None:
    taught.draw(taught.pad, SHAPES["vee"])
    expect(taught.guess).to_have_text("vee")
    taught.page.locator(".chips").get_by_role("button", name="vee").click()
    expect(taught.learned).to_contain_text("revision 2")
    expect(nearest(taught).first.get_by_role("img", name="Example 7:")).to_be_visible()
    src = taught.card(2).locator(".thumb img").last.get_attribute("src")
    expect(nearest(taught).first.locator("img")).to_have_attribute("src", str(src))


def test_a_margin_and_an_unfamiliar_query_are_shown_where_the_server_says_so(hands: Hands) -> None:
    top = [{"label": "kite", "score": 0.6}, {"label": "hook", "score": 0.35}]
    answer = {"predictions": [{"label": "kite", "score": 0.6, "top": top, "margin": 0.25, "unfamiliar": True}]}
    hands.take_samples()
    hands.adapt()
    hands.page.route("**/predict", lambda route: route.fulfill(json=answer))
    hands.page.get_by_role("button", name="Ask about kite-query.png").click()
    expect(hands.page.locator(".guess")).to_contain_text("ahead of the next by 25 %")
    expect(hands.page.locator(".doubt")).to_contain_text("Unlike every class")


def test_a_dot_is_drawn_as_wide_as_the_pen(hands: Hands) -> None:
    hands.draw(hands.card(0).locator("canvas"), [((0.5, 0.2),)])
    hands.card(0).get_by_text("Add", exact=True).click()
    source = hands.card(0).locator(".thumb img").get_attribute("src")
    assert source is not None
    drawn = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("L")
    inked = sum(drawn.histogram()[:128])
    assert 40 < inked < 62, "a disc of width 8 has 50 points"


def test_a_pen_that_is_pressed_and_held_is_no_error(taught: Hands) -> None:
    taught.pad.scroll_into_view_if_needed()
    box = taught.pad.bounding_box()
    assert box is not None
    with taught.page.expect_response("**/predict"):
        taught.page.mouse.move(box["x"] + 60, box["y"] + 60)
        taught.page.mouse.down()
    expect(taught.guess.or_(taught.page.locator(".guess .waiting"))).to_be_visible()
    expect(taught.alert).to_be_hidden()
    taught.page.mouse.up()


def test_a_question_that_is_still_blank_shows_the_hint_and_no_error(taught: Hands) -> None:
    problem = {"status": 422, "code": "blank_image", "detail": "queries[0]: expected a drawing, got a blank image"}
    answer = {"status": 422, "content_type": "application/problem+json", "json": problem}
    taught.page.route("**/predict", lambda route: route.fulfill(**answer))
    with taught.page.expect_response("**/predict"):
        taught.draw(taught.pad, SHAPES["vee"])
    expect(taught.page.locator(".guess .waiting")).to_be_visible()
    expect(taught.alert).to_be_hidden()


def test_an_error_moves_nothing_and_can_be_closed(taught: Hands) -> None:
    taught.page.route("**/predict", lambda route: route.fulfill(status=500, body="no"))
    taught.pad.scroll_into_view_if_needed()
    before = taught.pad.bounding_box()
    taught.draw(taught.pad, SHAPES["vee"])
    expect(taught.alert).to_contain_text("The server answered 500")
    assert taught.pad.bounding_box() == before
    taught.page.get_by_role("button", name="Close this message").click()
    expect(taught.alert).to_be_hidden()
