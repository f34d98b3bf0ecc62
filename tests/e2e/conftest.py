from collections.abc import Iterator
from pathlib import Path

import pytest

from service.learner.encoders.mlp import Mlp
from tests.e2e.server import Server, running
from tests.tiny import SHAPES, drawing, png, tiny_model, write_tiny

MAX_BODY_BYTES = 1_000_000


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`omniglot` (untrained, by the name of the default), one of vectors, and a damaged one."""
    store = tmp_path_factory.mktemp("store")
    write_tiny(store, "omniglot")
    write_tiny(store, "vectors", tiny_model(Mlp(inputs=3)))
    (write_tiny(store, "damaged") / "weights.safetensors").write_bytes(b"not what the manifest says")
    return store


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[Server]:
    """One server for all tests that do not stop it."""
    with running(tmp_path_factory.mktemp("server"), model_store, max_body_bytes=MAX_BODY_BYTES) as started:
        yield started


@pytest.fixture
def url(server: Server) -> str:
    return server.url


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of three shapes, two drawings each."""
    folder = tmp_path_factory.mktemp("drawings")
    for shape in SHAPES[:3]:
        (folder / shape).mkdir()
        for n in (1, 2):
            (folder / shape / f"{n}.png").write_bytes(png(drawing(shape, width=1 + n)))
    return folder
