import asyncio

import pytest

from innerloop import AsyncClient, Client, ServerUnreachableError
from innerloop.address import DEFAULT_URL, address_of
from innerloop.sklearn import FewShotClassifier


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INNERLOOP_URL", raising=False)


def test_an_address_that_is_given_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address_of(None) == DEFAULT_URL
    monkeypatch.setenv("INNERLOOP_URL", "")
    assert address_of(None) == DEFAULT_URL
    monkeypatch.setenv("INNERLOOP_URL", "http://there:1")
    assert address_of(None) == "http://there:1"
    assert address_of("http://elsewhere:2") == "http://elsewhere:2"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:8000", "write http://localhost:8000"),
        ("127.0.0.1:8000", "write http://127.0.0.1:8000"),
        ("//host", "write http://host"),
        ("redis://host", f"write {DEFAULT_URL}"),
    ],
)
def test_an_address_without_its_scheme_says_what_to_write(url: str, says: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ServerUnreachableError, match=says) as caught:
            kind(url)
        assert not caught.value.passing


def test_clients_and_estimators_ask_the_server_that_the_environment_names(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNERLOOP_URL", url)
    with Client() as client:
        assert client.info().version == "0.1.0"

    async def version() -> str:
        async with AsyncClient() as client:
            return (await client.info()).version

    assert asyncio.run(version()) == "0.1.0"
    classifier = FewShotClassifier("omniglot").fit([[0.0], [1.0]], ["a", "b"])
    assert classifier.session_id_ == "ses_0"
    monkeypatch.setenv("INNERLOOP_URL", "http://127.0.0.1:1")
    with Client(url) as client:
        assert client.info().version == "0.1.0"
