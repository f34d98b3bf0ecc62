"""Modules of the page that need no page: called in the browser, one by one."""

from typing import Any

import pytest

from tests.ui.hands import Hands


def run(hands: Hands, module: str, body: str) -> Any:
    """What a function body gives that has the module's exports as `it`."""
    return hands.page.evaluate(f"async () => {{ const it = await import('/ui/{module}.js'); {body} }}")


def test_only_the_newest_question_is_answered(hands: Hands) -> None:
    answered = run(
        hands,
        "latest",
        """
        const answers = [], open = [];
        const asked = () => new Promise((resolve) => open.push(resolve));
        const live = it.latest(asked, { pause: 1, answered: (one) => answers.push(one), failed() {} });
        const wait = async (count) => { while (open.length < count) await new Promise((resolve) => setTimeout(resolve, 1)); };
        live.changed(); await wait(1);
        live.changed(); await wait(2);
        open[1]("new"); open[0]("old");
        await 0; await 0;
        live.changed(); await wait(3);
        live.cancel(); open[2]("cancelled");
        await 0; await 0;
        return answers;
        """,
    )
    assert answered == ["new"]


def test_many_changes_ask_once_in_a_pause(hands: Hands) -> None:
    asked = run(
        hands,
        "latest",
        """
        let asked = 0;
        const live = it.latest(async () => { asked++; }, { pause: 50, answered() {}, failed() {} });
        for (let n = 0; n < 100; n++) live.changed();
        await new Promise((resolve) => setTimeout(resolve, 120));
        return asked;
        """,
    )
    assert asked == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "now"),
        (1, "in 1 second"),
        (59, "in 59 seconds"),
        (600, "in 10 minutes"),
        (3600, "in 60 minutes"),
        (7200, "in 2 hours"),
        (604_800, "in 7 days"),
    ],
)
def test_an_end_is_said_in_the_unit_that_fits(hands: Hands, seconds: int, words: str) -> None:
    body = f"return it.expiry({{ pinned: false, expires_at: new Date(1e12 + {seconds} * 1000).toISOString() }}, 1e12)"
    assert run(hands, "sessions", body) == words


def test_a_pinned_session_never_ends(hands: Hands) -> None:
    assert run(hands, "sessions", "return it.expiry({ pinned: true, expires_at: null })") == "never, as it is pinned"


def test_an_error_names_the_picture_in_place_of_its_number(hands: Hands) -> None:
    body = """
    const [one, two] = [{ kind: "picture", name: "one.png" }, { kind: "vector", numbers: [1, 2] }];
    const examples = [{ label: "a", input: one }, { label: "b", input: two }];
    return ["support[0]: expected an image", "support[1]: expected 3 numbers", "support[7]: no such", "the queue is full"]
      .map((text) => it.inWords(new Error(text), examples));
    """
    assert run(hands, "words", body) == [
        "one.png in “a”: expected an image",
        "(1, 2) in “b”: expected 3 numbers",
        "support[7]: no such",
        "the queue is full",
    ]


def test_numbers_on_an_axis_are_short(hands: Hands) -> None:
    body = "return [0, 1.25, -99999, 4.3e12, -2e12, 1.24e-7].map(it.brief)"
    assert run(hands, "brief", body) == ["0", "1.3", "-1e5", "4.3e12", "-2e12", "1.2e-7"]


def test_the_loss_is_described_to_those_who_cannot_see_the_chart(hands: Hands) -> None:
    body = "return [it.inWords([1.5, 0.25], Math.log(5)), it.inWords([0.0001, 0.0001], Math.log(2)), it.inWords([4, 3, 2])]"
    assert run(hands, "chart", body) == [
        "Loss on your examples: from 1.5 to 0.25 in 1 inner step; guessing would be 1.6.",
        "Loss on your examples: below 0.001 from the start; guessing would be 0.69.",
        "Loss on your examples: from 4 to 2 in 2 inner steps.",
    ]


def test_a_regression_opened_by_its_link_is_estimated_in_python_with_the_options_of_the_call(hands: Hands) -> None:
    body = """
    const ask = { call: "predict", session: "ses_1", inputs: [{ kind: "vector", numbers: [1.5] }], options: { top_k: 1, nearest: 2 } };
    const open = (estimates) => ({ call: "open", session: "ses_1", estimates });
    return [true, false].map((estimates) => it.asPython([open(estimates), ask], "http://here", { whole: true }).split("answer = ")[1]);
    """
    assert run(hands, "snippets", body) == [
        "session.estimate([[1.5]], nearest=2)\nprint(answer.predictions)",
        "session.predict([[1.5]], top_k=1, nearest=2)\nprint(answer.predictions)",
    ]
