"""The address of a server: the one given, else what INNERLOOP_URL says, else the default."""

import os

from innerloop.errors import ServerUnreachableError

DEFAULT_URL = "http://127.0.0.1:8000"
VARIABLE = "INNERLOOP_URL"


def address_of(given: str | None) -> str:
    """The address to ask.

    Raises:
        ServerUnreachableError: it does not begin with http:// or https://; says what to write.
    """
    url = given or os.environ.get(VARIABLE) or DEFAULT_URL
    if not url.lower().startswith(("http://", "https://")):
        instead = DEFAULT_URL if "://" in url else f"http://{url.lstrip('/')}"
        raise ServerUnreachableError(f"expected an address with http:// or https://, got {url!r}; write {instead}", passing=False)
    return url
