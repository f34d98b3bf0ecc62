"""Tables of numbers: with a real meta-model of two numbers, with the shipped one of any, and a regression whose server is pretended."""

import ast
import json
import math
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from innerloop import Client
from tests.ui.hands import Hands

SESSION = "ses_" + "1" * 32


def cell(page: Page, name: str) -> Locator:
    return page.get_by_role("textbox", name=name, exact=True)


def test_rows_of_numbers_are_told_apart(hands: Hands, client: Client) -> None:
    page = hands.page
    page.locator("#model").select_option("pairs@1")
    for row, cells in enumerate((("9", "0", "right"), ("0", "9", "up")), start=1):
        for column, value in zip(("x1", "x2", "class"), cells, strict=True):
            cell(page, f"{column} of row {row}").fill(value)
    assert client.session(hands.adapt()).info.shots == {"right": 1, "up": 1}
    cell(page, "x1").fill("0.5")
    cell(page, "x2").fill("8")
    expect(hands.guess).to_have_text("up")
    page.locator(".chips").get_by_role("button", name="up").click()
    expect(hands.learned).to_contain_text("revision 2")
    expect(cell(page, "class of row 3")).to_have_value("up")


def test_cells_are_pasted_from_a_spreadsheet(hands: Hands, client: Client) -> None:
    page = hands.page
    page.locator("#model").select_option("pairs@1")
    cell(page, "x1 of row 1").focus()
    paste(page, "1\t2\ta\n-1\t-2\tb\n1.5\t2e0\ta\n")
    expect(cell(page, "class of row 3")).to_have_value("a")
    expect(cell(page, "x1 of row 4")).to_have_value("")
    assert client.session(hands.adapt()).info.shots == {"a": 2, "b": 1}


def test_a_cell_that_is_no_number_is_named(hands: Hands) -> None:
    page = hands.page
    page.locator("#model").select_option("pairs@1")
    page.get_by_role("button", name="Try some numbers").click()
    cell(page, "x2 of row 3").fill("1,5")
    page.locator("#adapt").click()
    expect(hands.alert).to_contain_text("Row 3, x2: expected a number, got “1,5”")


IRIS = """5.1\t3.5\t1.4\t0.2\tsetosa
4.9\t3.0\t1.4\t0.2\tsetosa
7.0\t3.2\t4.7\t1.4\tversicolor
6.4\t3.2\t4.5\t1.5\tversicolor
6.3\t3.3\t6.0\t2.5\tvirginica
5.8\t2.7\t5.1\t1.9\tvirginica
"""


def paste(page: Page, text: str) -> None:
    """Into the cell that has the focus."""
    page.evaluate(
        """(text) => {
          const transfer = new DataTransfer();
          transfer.setData("text/plain", text);
          document.activeElement.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
        }""",
        text,
    )


def test_a_table_of_any_width_is_chosen_filled_adapted_to_and_asked(hands: Hands, client: Client) -> None:
    page = hands.page
    page.locator("#model").select_option("vectors@1")
    expect(page.locator("#model-about")).to_contain_text("up to 256 in a row")
    page.get_by_role("button", name="Add a column").click()
    rows = (("1", "200", "0.1", "low"), ("2", "210", "0.3", "low"), ("8", "900", "0.2", "high"), ("9", "880", "0.1", "high"))
    for row, cells in enumerate(rows, start=1):
        for column, value in zip(("x1", "x2", "x3", "class"), cells, strict=True):
            cell(page, f"{column} of row {row}").fill(value)
    info = client.session(hands.adapt()).info
    assert (info.length, info.shots) == (3, {"high": 2, "low": 2})
    for name, value in (("x1", "1.5"), ("x2", "250"), ("x3", "0.2")):
        cell(page, name).fill(value)
    expect(hands.guess).to_have_text("low")
    page.locator(".chips").get_by_role("button", name="low").click()
    expect(hands.learned).to_contain_text("revision 2")
    expect(cell(page, "x2 of row 5")).to_have_value("250")


def test_columns_are_added_and_removed_and_what_is_in_the_others_stays(hands: Hands) -> None:
    page = hands.page
    page.locator("#model").select_option("vectors@1")
    for column, value in zip(("x1", "x2", "class"), ("1", "2", "a"), strict=True):
        cell(page, f"{column} of row 1").fill(value)
    page.get_by_role("button", name="Add a column").click()
    cell(page, "x3 of row 1").fill("3")
    expect(cell(page, "class of row 1")).to_have_value("a")
    remove = page.get_by_role("button", name="Remove a column")
    remove.click()
    expect(cell(page, "x3 of row 1")).to_have_count(0)
    expect(cell(page, "x2 of row 1")).to_have_value("2")
    remove.click()
    expect(cell(page, "x of row 1")).to_have_value("1")
    expect(cell(page, "class of row 1")).to_have_value("a")
    expect(remove).to_be_disabled()


def test_a_pasted_table_brings_its_columns_along(hands: Hands, client: Client) -> None:
    page = hands.page
    page.locator("#model").select_option("vectors@1")
    cell(page, "x1 of row 1").focus()
    paste(page, IRIS)
    expect(cell(page, "x4 of row 5")).to_have_value("2.5")
    expect(cell(page, "class of row 6")).to_have_value("virginica")
    info = client.session(hands.adapt()).info
    assert (info.length, info.shots) == (4, {"setosa": 2, "versicolor": 2, "virginica": 2})


def test_a_session_opened_by_its_link_is_asked_with_as_many_numbers_as_it_has(hands: Hands, client: Client) -> None:
    page = hands.page
    session = client.adapt("vectors", {"a": [[1.0, 2, 3, 4, 5], [1.5, 2, 3, 4, 5]], "b": [[5.0, 4, 3, 2, 1], [5.5, 4, 3, 2, 1]]})
    page.evaluate("id => location.hash = `#/session/${id}`", session.id)
    for place, value in enumerate("54321", start=1):
        cell(page, f"x{place}").fill(value)
    expect(hands.guess).to_have_text("b")


@pytest.mark.parametrize(
    ("model", "text", "words"),
    [
        ("vectors@1", "1\t2\ta\n3\t4\tb\n5\tc\n", "Row 3 of what you pasted has 2 cells, row 1 has 3"),
        (
            "vectors@1",
            "\t".join([*map(str, range(300)), "a"]),
            "Row 1 of what you pasted has 301 cells, this model takes 256 numbers and its class",
        ),
        ("pairs@1", "1,2,3,a\n4,5,6,b", "Row 1 of what you pasted has 4 cells, this model takes 2 numbers and its class"),
    ],
)
def test_a_paste_that_does_not_fit_is_refused_and_changes_nothing(hands: Hands, model: str, text: str, words: str) -> None:
    page = hands.page
    page.locator("#model").select_option(model)
    cell(page, "class of row 1").fill("kept")
    cell(page, "x1 of row 1").focus()
    paste(page, text)
    expect(hands.alert).to_contain_text(words)
    expect(page.locator(".table-editor tbody input")).to_have_count(6)
    assert [each.input_value() for each in page.locator(".table-editor tbody input").all()] == ["", "", "kept", "", "", ""]
    paste(page, "1\t2\ta")
    expect(hands.alert).to_be_hidden()
    expect(cell(page, "class of row 1")).to_have_value("a")


def test_a_paste_beside_the_first_column_is_refused_where_there_is_no_room(hands: Hands) -> None:
    page = hands.page
    page.locator("#model").select_option("vectors@1")
    cell(page, "x2 of row 1").focus()
    paste(page, "1\t2\ta")
    expect(hands.alert).to_contain_text("Row 1 of what you pasted has 3 cells, from this column on there is room for 2")
    expect(cell(page, "x2 of row 1")).to_have_value("")


def test_a_line_that_names_the_columns_is_left_out(hands: Hands, client: Client) -> None:
    page = hands.page
    page.locator("#model").select_option("vectors@1")
    cell(page, "x1 of row 1").focus()
    paste(page, "sepal length;width;petal length;width;species\n" + IRIS.replace("\t", ";"))
    expect(cell(page, "x1 of row 1")).to_have_value("5.1")
    expect(cell(page, "class of row 6")).to_have_value("virginica")
    expect(page.locator("#status")).to_have_text("Pasted 6 rows; the first line names the columns and was left out.")
    assert client.session(hands.adapt()).info.length == 4


def test_a_narrower_paste_keeps_the_numbers_beside_it(hands: Hands) -> None:
    page = hands.page
    page.locator("#model").select_option("vectors@1")
    cell(page, "x1 of row 1").focus()
    paste(page, "1\t2\t3\ta\n4\t5\t6\tb")
    cell(page, "x1 of row 2").focus()
    paste(page, "7\t8")
    values = [cell(page, f"{column} of row 2").input_value() for column in ("x1", "x2", "x3", "class")]
    assert values == ["7", "8", "6", "b"]
    expect(cell(page, "x1 of row 2")).to_be_focused()


def test_a_row_is_pasted_into_the_question(hands: Hands, client: Client) -> None:
    page = hands.page
    session = client.adapt("vectors", {"a": [[1.0, 2, 3], [1.5, 2, 3]], "b": [[5.0, 4, 1], [5.5, 4, 1]]})
    page.evaluate("id => location.hash = `#/session/${id}`", session.id)
    cell(page, "x2").focus()
    paste(page, "5\t4\t1\n")
    assert [cell(page, f"x{place}").input_value() for place in (1, 2, 3)] == ["5", "4", "1"]
    expect(hands.guess).to_have_text("b")
    complaint = page.locator("#question [role=alert]")
    expect(complaint).to_be_hidden()
    paste(page, "5\t4\t1\tb")
    expect(complaint).to_have_text("The row you pasted has 4 cells, from this cell on there is room for 2.")
    paste(page, "5\t4\t1\n5\t4\t1\n")
    expect(complaint).to_have_text("What you pasted has 2 rows: paste one, of 3 numbers.")


@pytest.mark.parametrize("typed", ["abc", "1,5"])
def test_what_is_no_number_is_said_beside_the_question(hands: Hands, client: Client, typed: str) -> None:
    page = hands.page
    session = client.adapt("pairs", {"a": [[1.0, 2]], "b": [[5.0, 4]]})
    page.evaluate("id => location.hash = `#/session/${id}`", session.id)
    complaint = page.locator("#question [role=alert]")
    cell(page, "x2").fill("-")
    expect(complaint).to_be_hidden()
    cell(page, "x2").fill(typed)
    expect(complaint).to_contain_text(f"x2: expected a number, got “{typed}”")
    expect(cell(page, "x2")).to_have_attribute("aria-invalid", "true")
    cell(page, "x2").fill("1.5")
    expect(complaint).to_be_hidden()


@pytest.fixture
def regression(page: Page, url: str) -> list[dict[str, Any]]:
    """The page before a server that fits every support set by y = 2x; gives the bodies that it was sent."""
    sent: list[dict[str, Any]] = []
    model = {
        "name": "sinusoid", "version": 1, "default": True, "status": "serving", "input": {"kind": "vector", "length": 1},
        "recipe": {"head": "output"}, "scopes": ["all"], "steps_default": 5, "steps_max": 10, "evaluation": [],
    }  # fmt: skip

    def answer(route: Route) -> None:
        path, body = route.request.url.removeprefix(url), route.request.post_data
        if body is not None:
            sent.append(json.loads(body))
        if path == "/v1/models":
            route.fulfill(json={"models": [model]})
        elif path.endswith("/predict"):
            route.fulfill(json={"predictions": [{"target": [2 * query["vector"][0]]} for query in sent[-1]["queries"]]})
        elif path == "/v1/sessions" and body is None:
            route.fulfill(json={"sessions": [], "next": None})
        else:
            revision = 1 + sum("queries" not in each for each in sent[1:])
            losses = [4.0, 2.0, 1.0, 0.5, 0.25, 0.125]
            end = "2100-01-01T00:00:00Z"
            route.fulfill(
                json={"session": SESSION, "model": "sinusoid@1", "revision": revision, "losses": losses, "expires_at": end,
                      "pinned": False, "keeps_support": True}
            )  # fmt: skip

    page.route("**/v1/**", answer)
    page.goto(url)
    return sent


def test_a_function_is_adapted_to_points_and_plotted(page: Page, regression: list[dict[str, Any]]) -> None:
    page.get_by_role("button", name="Try some numbers").click()
    page.locator("#adapt").click()
    plot = page.locator(".plot svg")
    expect(plot.locator("circle")).to_have_count(6)
    assert regression[0]["support"][0] == {"vector": [-4], "target": pytest.approx(2.5 * math.sin(-3.2), abs=0.01)}
    curve = [tuple(map(float, pair.split(","))) for pair in str(plot.locator(".curve").get_attribute("points")).split()]
    expect(page.locator("#learned")).not_to_contain_text("Leave-one-out")
    slopes = {round((b[1] - a[1]) / (b[0] - a[0]), 3) for a, b in pairwise(curve)}
    assert len(slopes) == 1, "the server's function is a straight line"


def test_a_regression_is_shown_as_the_calls_that_were_made(page: Page, regression: list[dict[str, Any]]) -> None:
    page.get_by_role("button", name="Try some numbers").click()
    page.locator("#adapt").click()
    page.locator(".plot svg").wait_for()
    shown = page.locator("#snippets pre").inner_text()
    body = shown.partition("<<JSON\n")[2].partition("\nJSON")[0]
    assert json.loads(body) == regression[0]
    page.get_by_role("radio", name="Python").check()
    python = page.locator("#snippets pre").inner_text()
    pair = python[python.index("([[") : python.index(",\n", python.index("([["))]
    inputs, targets = ast.literal_eval(pair)
    assert [{"vector": x, "target": y} for x, y in zip(inputs, targets, strict=True)] == regression[0]["support"]


@pytest.mark.usefixtures("regression")
def test_huge_numbers_on_the_axes_stay_within_the_card(page: Page) -> None:
    cell(page, "x of row 1").focus()
    paste(page, "-4312345678901\t-86e11\n4312345678901\t86e11\n")
    page.locator("#adapt").click()
    expect(page.locator(".plot svg text").first).to_have_text("-1.2e13")
    outside = page.evaluate(
        """() => [...document.querySelectorAll(".plot svg text, .learned svg text")].filter((text) => {
          const [inner, outer] = [text, text.closest("svg")].map((node) => node.getBoundingClientRect());
          return inner.left < outer.left - 1 || inner.right > outer.right + 1;
        }).length"""
    )
    assert outside == 0


@pytest.mark.usefixtures("regression")
def test_a_function_opened_by_its_link_is_estimated_in_python(page: Page) -> None:
    page.evaluate("id => location.hash = `#/session/${id}`", SESSION)
    page.locator(".plot svg").wait_for()
    page.get_by_role("radio", name="Python").check()
    cell(page, "x").fill("1.5")
    expect(page.locator("#snippets pre")).to_contain_text("session.estimate([[1.5]])")


def test_a_point_is_asked_about_marked_and_taught(page: Page, regression: list[dict[str, Any]]) -> None:
    page.get_by_role("button", name="Try some numbers").click()
    page.locator("#adapt").click()
    page.locator(".plot svg").wait_for()
    page.locator("#question").get_by_label("x", exact=True).fill("1.5")
    expect(page.locator(".guess")).to_have_text("y ≈ 3.000")
    expect(page.locator(".marker")).to_have_attribute("visibility", "visible")
    cell(page, "The right value").fill("nonsense")
    page.get_by_role("button", name="Add point").click()
    expect(page.locator(".reply [role=alert]")).to_contain_text("expected a number")
    cell(page, "The right value").fill("2.9")
    page.get_by_role("button", name="Add point").click()
    expect(page.locator("#learned")).to_contain_text("revision 2")
    assert {"support": [{"vector": [1.5], "target": 2.9}]} in regression
    expect(page.locator(".plot circle")).to_have_count(7)
