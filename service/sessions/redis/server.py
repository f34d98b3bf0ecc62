"""The connection to a Redis server: short waits, and errors in our words."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as UnreachableError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from service.errors import ServiceError, SessionStoreError, StoreFullError, StoreUnavailableError

# Of the keys and values that this version writes.
SCHEMA = 1
CONNECTIONS = 64
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
# What the server's configuration should say, and what is at stake.
DURABLE = {
    "appendonly": ("yes", "sessions are lost when Redis restarts"),
    "appendfsync": ("always", "the last second of sessions is lost when Redis is killed"),
    "maxmemory-policy": ("noeviction", "Redis drops sessions without a word when it is full"),
}

log = structlog.get_logger()


class RedisServer:
    """Asks one Redis (or Valkey) server. It reconnects by itself; what fails is asked again by the caller, if at all.

    Attributes:
        reached_at: when the last request that was answered was sent; None before the first.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime], schema_key: str) -> None:
        self._client = Redis.from_pool(_pool(url, connections=CONNECTIONS, retries=0))
        # Look-ups go one after another and change nothing: one connection does, and is tried anew when the server had closed it.
        self._lookups = Redis(connection_pool=_pool(url, connections=1, retries=1), single_connection_client=True)
        self._clock = clock
        self._schema_key = schema_key
        self._schema_checked = False
        self._away = False
        self.reached_at: datetime | None = None
        parts = self._client.connection_pool.connection_kwargs
        self.address: str = parts.get("path") or f"{parts.get('host', 'localhost')}:{parts.get('port', 6379)}"

    async def open(self) -> None:
        """Connect, if the server is there; otherwise the first request that reaches it does the rest.

        Raises:
            SessionStoreError: what is there was written by a newer version, or is something else.
        """
        try:
            await self._check_schema()
        except (StoreUnavailableError, StoreFullError) as error:
            log.warning("session store not ready", address=self.address, reason=str(error.__cause__))
        except SessionStoreError:
            await self.close()
            raise

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()
        await self._lookups.aclose()
        await self._lookups.connection_pool.disconnect()

    async def ask(self, *command: str | bytes | int) -> Any:
        """Run one command.

        Raises:
            StoreUnavailableError: the server cannot be reached, does not answer in time, or refuses.
            StoreFullError: it has no memory left.
        """
        await self._ready()
        with self._our_errors():
            return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def look_up(self, keys: Sequence[str]) -> list[bytes | None]:
        """Give the values of many keys, the fastest way; raises as `ask` does. One call at a time."""
        await self._ready()
        with self._our_errors():
            found: list[Any] = await self._lookups.mget(keys)
            return found

    async def run(self, script: str, *, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        """Run a Lua script; raises as `ask` does."""
        await self._ready()
        with self._our_errors():
            return await self._client.register_script(script)(keys=list(keys), args=list(args))

    async def _ready(self) -> None:
        if not self._schema_checked:
            try:
                await self._check_schema()
            except SessionStoreError as error:
                raise StoreUnavailableError(error.message) from error

    async def _check_schema(self) -> None:
        with self._our_errors():
            # Read first: a full Redis refuses every command that might write.
            found = await self._client.get(self._schema_key)
            if found is None:
                await self._client.set(self._schema_key, SCHEMA, nx=True)
                found = await self._client.get(self._schema_key)
        written = str(found, "utf-8", "replace") if isinstance(found, bytes) else found
        if written != str(SCHEMA):
            raise SessionStoreError(
                f"expected sessions of schema {SCHEMA} in Redis at {self.address}, key {self._schema_key!r} says {written!r}; "
                "start the version of Innerloop that wrote them, or choose another database"
            )
        self._schema_checked = True
        await self._warn_of_losses()

    async def _warn_of_losses(self) -> None:
        try:
            with self._our_errors():
                found = {name: (await self._client.config_get(name)).get(name) for name in DURABLE}
        except ServiceError:
            return  # Hosted servers keep their configuration to themselves.
        for name, (wanted, risk) in DURABLE.items():
            if found[name] != wanted:
                log.warning(
                    "session store may lose sessions", address=self.address, setting=name, found=found[name], wanted=wanted, risk=risk
                )

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        asked_at = self._clock()
        try:
            yield
        except ResponseError as error:
            self._note(away=False)
            raise _refusal(error) from error
        except (RedisError, OSError) as error:
            self._note(away=True, reason=str(error))
            raise StoreUnavailableError("the session store cannot be reached; try again in a moment") from error
        else:
            self._note(away=False)
            self.reached_at = asked_at

    def _note(self, *, away: bool, reason: str | None = None) -> None:
        if away and not self._away:
            log.warning("session store away", address=self.address, reason=reason)
        if self._away and not away:
            log.info("session store back", address=self.address)
        self._away = away


def _pool(url: str, *, connections: int, retries: int) -> BlockingConnectionPool:
    try:
        return BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=ANSWER_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), retries, supported_errors=(UnreachableError,)),
            # With version 3 the client turns off its check that a pooled connection has no unread answer on it.
            protocol=2,
        )
    except ValueError:
        # Without a word of what came: it may hold a password.
        raise SessionStoreError(
            "expected the session store as redis://USER:PASSWORD@HOST:PORT/DATABASE (rediss:// with TLS), special characters "
            "percent-encoded; what came cannot be read so"
        ) from None


def _refusal(error: ResponseError) -> StoreFullError | StoreUnavailableError:
    # Redis 6 tells only in words of what a script met.
    if isinstance(error, OutOfMemoryError) or "OOM command not allowed" in str(error):
        return StoreFullError("the session store has no memory left; delete sessions, or give Redis a larger maxmemory")
    return StoreUnavailableError(f"the session store refuses to work: {error}; see to its configuration")
