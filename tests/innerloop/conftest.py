import pytest

from tests.innerloop.server import FakeServer


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()
