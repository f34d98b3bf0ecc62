import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.api.pages import FILES

EXAMPLES = Path(__file__).parents[2] / "examples" / "characters"
ASSETS = sorted(file.relative_to(FILES).as_posix() for file in FILES.rglob("*.*") if file.suffix != ".html")


def test_the_page_is_served_at_the_root_and_its_assets_under_ui(client: TestClient) -> None:
    page = client.get("/")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert client.head("/").status_code == 200
    for name in ASSETS:
        answer = client.get(f"/ui/{name}")
        assert (answer.status_code, answer.content) == (200, (FILES / name).read_bytes())


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_names_only_files_of_this_server(client: TestClient, path: str) -> None:
    """Relative, so that they are found behind a proxy's prefix too."""
    named = re.findall(r'(?:src|href)="([^"#]+)"', client.get(path).text)
    assert len(named) > 3
    for name in named:
        assert not name.startswith("/"), name
        assert "//" not in name
        assert client.get(f"/{name}").status_code == 200


def test_every_call_is_listed_at_docs_and_nowhere_else(client: TestClient) -> None:
    assert (client.get("/docs").status_code, client.head("/docs").status_code) == (200, 200)
    assert client.get("/redoc").status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs", "/ui/main.js", "/ui/style.css", "/ui/samples/kite-1.png", "/docs/assets/swagger-ui.css"])
def test_every_file_of_the_page_comes_with_its_policy(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-cache")


def test_a_file_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/ui/main.js").headers["ETag"]
    again = client.get("/ui/main.js", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/ui/../pyproject.toml", "/ui/%2e%2e/config.py", "/ui/", "/ui/samples"])
def test_nothing_but_files_of_the_page_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_api_is_answered_without_the_pages_policy(client: TestClient) -> None:
    assert "Content-Security-Policy" not in client.get("/v1/models").headers


def test_the_sample_drawings_are_those_of_the_examples() -> None:
    for sample in (FILES / "samples").iterdir():
        character, _, number = sample.stem.partition("-")
        source = EXAMPLES / "queries" / f"{character}-2.png" if number == "query" else EXAMPLES / "support" / character / f"{number}.png"
        assert sample.read_bytes() == source.read_bytes()
