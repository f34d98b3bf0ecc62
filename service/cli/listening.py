"""Taking an address: alone, or for several processes to share."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from service.errors import AddressError

Address = tuple[str, int]


async def bound(addresses: Sequence[Address], *, shared: bool = False) -> list[socket.socket]:
    """Take addresses as uvicorn would, which says in its own log when it cannot; nobody can connect to them yet.

    Args:
        addresses: hosts and ports; port 0 takes a free one, a host of several addresses takes all of them.
        shared: take them beside other processes that share them.

    Raises:
        AddressError: one is taken, or is not this machine's.
    """
    loop, sockets = asyncio.get_running_loop(), []
    for host, port in addresses:
        try:
            server = await loop.create_server(asyncio.Protocol, host, port, reuse_port=shared, start_serving=False)
        except OSError as error:
            reason = (error.strerror or str(error)).rpartition(": ")[2]
            raise AddressError(f"cannot listen on {host} port {port} ({reason}); give another with --host or --port") from error
        sockets += [each.dup() for each in server.sockets]
        server.close()
    return sockets


@contextmanager
def reserved(address: Address) -> Iterator[Sequence[Address]]:
    """Hold an address for workers to share, and give every address that it stands for, with its real port.

    Raises:
        AddressError: it is taken, or is not this machine's.
    """
    with ExitStack() as closed:
        # Taken alone, so that no other server's is shared by mistake; then offered to our own workers. It never listens.
        sockets = [closed.enter_context(closing(each)) for each in asyncio.run(bound([address]))]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield [each.getsockname()[:2] for each in sockets]
