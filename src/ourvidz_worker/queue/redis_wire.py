"""The lists over TCP, by the client library of Redis."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar, cast

import redis.asyncio as aio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError

from ourvidz_worker.domain.errors import ConfigError, QueueUnavailable
from ourvidz_worker.queue.scripts import Script
from ourvidz_worker.queue.wire import REQUEST_TIMEOUT_S
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

CONNECTIONS = 16
"""Steps under way at once; more wait for one to end."""

CONNECT_TIMEOUT_S = 5.0
WAIT_TIMEOUT_S = 15.0
"""A connection that waits is silent for five seconds when all is well."""

T = TypeVar("T")


class RedisWire:
    """`redis://` and `rediss://`. The library's own repetitions are off: a step is sent once."""

    can_block = True

    def __init__(self, url: str) -> None:
        """Remember the address."""
        self._url = url
        self._client: aio.Redis | None = None
        self._waiters: aio.Redis | None = None

    async def open(self) -> Mapping[str, str]:
        """Connect; raises `ConfigError` for an address or a password that is wrong."""
        try:
            self._client = self._connect(CONNECTIONS, REQUEST_TIMEOUT_S)
            self._waiters = self._connect(CONNECTIONS, WAIT_TIMEOUT_S)
        except ValueError as error:
            raise ConfigError(
                "REDIS_URL must be redis://host:port or rediss://host:port", field="redis_url"
            ) from error
        told: Mapping[str, object] = {}
        try:
            told = await self._client.info()
        except AuthenticationError as error:
            await self.close()
            raise ConfigError(
                "REDIS_URL has a wrong user or password", field="redis_url"
            ) from error
        except ResponseError as error:
            # A user may be allowed the scripts and not this.
            log.warning(
                "INFO is refused", extra={"action": Action.QUEUE_AT_RISK, "why": str(error)}
            )
        except (RedisError, OSError, TimeoutError) as error:
            await self.close()
            raise QueueUnavailable(cause=repr(error)) from error
        return {str(key): str(value) for key, value in told.items()}

    async def close(self) -> None:
        """End every connection; one that is broken already is no fault."""
        clients = [client for client in (self._client, self._waiters) if client is not None]
        self._client = self._waiters = None
        for client in clients:
            await asyncio.shield(client.aclose(close_connection_pool=True))

    async def evaluate(self, script: Script, arguments: Sequence[bytes]) -> Any:  # noqa: ANN401
        """Run a script that the server may have to be taught first."""
        if self._client is None:
            raise QueueUnavailable
        try:
            return await _answer(self._client.evalsha(script.sha, 0, *arguments))
        except NoScriptError:
            return await _answer(self._client.eval(script.source, 0, *arguments))

    async def wait_for(self, listed: str, seconds: int) -> bytes | None:
        """Wait on a connection of its own; the list's only element moves onto its own place."""
        if self._waiters is None:
            raise QueueUnavailable
        moving = self._waiters.blmove(listed, listed, seconds, "LEFT", "LEFT")
        first: bytes | None = await _answer(moving)
        return first

    def _connect(self, connections: int, timeout_s: float) -> aio.Redis:
        pool = aio.BlockingConnectionPool.from_url(
            self._url,
            max_connections=connections,
            timeout=REQUEST_TIMEOUT_S,
            socket_timeout=timeout_s,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        return aio.Redis(connection_pool=pool, retry=Retry(NoBackoff(), 0))


async def _answer(reply: object) -> Any:  # noqa: ANN401 - the library's own type
    """A reply; every fault of the library but an unknown script becomes ours."""
    try:
        return await cast("Awaitable[Any]", reply)
    except NoScriptError:
        raise
    except (RedisError, OSError, TimeoutError) as error:
        raise QueueUnavailable(cause=repr(error)) from error
