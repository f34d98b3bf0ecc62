"""The examples in the client's docstrings and on its page, run one by one against a real server."""

import doctest
import importlib
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from innerloop import AsyncClient, Client
from innerloop.sklearn import FewShotClassifier, FewShotRegressor
from tests.e2e.server import ROOT, running

MODULES = ("innerloop", "innerloop.client", "innerloop.async_client", "innerloop.sklearn")
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE
SILENT = {"close"}  # there is nothing to show

FOUND = [example for name in MODULES for example in doctest.DocTestFinder().find(importlib.import_module(name))]
PAGE = "docs/client.md"
PAGES = [doctest.DocTestParser().get_doctest((ROOT / PAGE).read_text(), {}, PAGE, PAGE, 0)]
EXAMPLES = [example for example in [*FOUND, *PAGES] if example.examples]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with shipped meta-models."""
    store = tmp_path_factory.mktemp("store")
    for name in ("omniglot", "sinusoid", "vectors"):
        shutil.copytree(ROOT / "model_store" / name, store / name)
    with running(tmp_path_factory.mktemp("server"), store) as server:
        yield server.url


@pytest.fixture(autouse=True)
def at_home(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server at the default address, and the repository's root underfoot."""
    for kind in (Client, AsyncClient):
        monkeypatch.setattr(kind.__init__, "__defaults__", (url,))
    for estimator in (FewShotClassifier, FewShotRegressor):
        monkeypatch.setattr(estimator.__init__, "__kwdefaults__", {**(estimator.__init__.__kwdefaults__ or {}), "url": url})
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_gives_what_it_shows(example: doctest.DocTest) -> None:
    told: list[str] = []
    with Client() as client:
        session = client.adapt("omniglot", Path("examples/characters/support"))
        example.globs = {**example.globs, "client": client, "session": session}
        doctest.DocTestRunner(optionflags=FLAGS).run(example, out=told.append)
    assert not told, "".join(told)


def test_every_method_of_the_blocking_client_has_an_example() -> None:
    shown = {example.name.rpartition(".")[2] for example in EXAMPLES}
    for kind in ("Client", "Session"):
        members = vars(getattr(importlib.import_module("innerloop.client"), kind))
        methods = {name for name, member in members.items() if inspect.isfunction(member) and not name.startswith("_")}
        assert methods - SILENT <= shown, methods - shown
