import asyncio
import socket
from contextlib import ExitStack, closing

import pytest

from service.cli.listening import bound, reserved
from service.errors import AddressError

FREE = ("127.0.0.1", 0)


def test_nobody_can_connect_to_an_address_that_is_only_taken() -> None:
    with reserved(FREE) as [address], pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_reserved_address_is_shared_by_those_who_share_it_and_by_nobody_else() -> None:
    with reserved(FREE) as [address], ExitStack() as closed:
        sockets = [closed.enter_context(closing(each)) for _ in range(2) for each in asyncio.run(bound([address], shared=True))]
        assert {each.getsockname() for each in sockets} == {address}
        for each in sockets:
            each.listen()
        with pytest.raises(AddressError, match="already in use"):
            asyncio.run(bound([address]))
        with pytest.raises(AddressError, match="already in use"), reserved(address):
            pass


def test_a_listener_that_is_gone_leaves_connections_to_the_others() -> None:
    with reserved(FREE) as [address]:
        first, second = (asyncio.run(bound([address], shared=True))[0] for _ in range(2))
        with closing(second):
            with closing(first):
                first.listen()
                second.listen()
            for _ in range(8):
                with socket.create_connection(address, timeout=5), closing(second.accept()[0]):
                    pass


def test_an_address_is_free_again_afterwards() -> None:
    with reserved(FREE) as [address]:
        pass
    for each in asyncio.run(bound([address])):
        each.close()
