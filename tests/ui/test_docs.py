"""The list of every call at `/docs`: Swagger UI, offline but for its own server."""

import re

from playwright.sync_api import Page, expect


def test_every_call_is_shown_and_nothing_is_asked_of_any_other_server(page: Page, url: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{url}/docs")
    paths = page.request.get(f"{url}/openapi.json").json()["paths"]
    expect(page.locator(".opblock")).to_have_count(sum(map(len, paths.values())))
    expect(page.locator(".opblock", has_text="/v1/sessions/{session_id}/predict").first).to_be_visible()
    assert [address for address in asked if not address.startswith((f"{url}/", "data:"))] == []


def test_a_call_is_made_from_the_page(page: Page, url: str) -> None:
    page.goto(f"{url}/docs")
    call = page.locator(".opblock", has_text=re.compile("/livez"))
    call.locator(".opblock-summary-control").click()
    call.get_by_role("button", name="Try it out").click()
    call.get_by_role("button", name="Execute").click()
    expect(call.locator(".live-responses-table .response-col_status").last).to_contain_text("200")


def test_the_playground_links_to_it(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("navigation").get_by_role("link", name="API").click()
    expect(page.locator(".opblock").first).to_be_visible()
