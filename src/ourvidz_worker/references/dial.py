"""Dialling the address that was checked: names are resolved once, and judged before a packet."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from socket import SOCK_STREAM, gaierror

import httpcore

from ourvidz_worker.domain.errors import BadReference
from ourvidz_worker.references.guard import is_public

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to the IP literals that the name stands for."""


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """The addresses that this machine's resolver knows, in its order."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves each name once for a connection, checks every answer, and dials the literal.

    One bad answer refuses them all. Hosts in `exempt` are the operator's own and may lie anywhere.
    """

    def __init__(
        self,
        *,
        exempt: Collection[str] = (),
        resolve: Resolve = resolve_by_system,
        inner: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """`inner` opens the connections; it is only ever given IP literals."""
        self._exempt = exempt
        self._resolve = resolve
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that answers. Raises `BadReference`."""
        failure = httpcore.ConnectError("no address")
        for address in await self._addresses(host, port):
            try:
                return await self._inner.connect_tcp(
                    address,
                    port,
                    timeout=timeout,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except httpcore.ConnectError as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's own signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: a reference does not lie behind a socket file."""
        raise BadReference(reason="REFERENCE_URL_BLOCKED")

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass, for the library's own retries, which are off."""
        await self._inner.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolve(host, port)
        except gaierror as error:
            raise httpcore.ConnectError("the name is not known") from error
        if host not in self._exempt and not all(map(is_public, addresses)):
            raise BadReference(reason="REFERENCE_URL_BLOCKED")
        return addresses


def guarded_pool(backend: GuardedBackend, *, tls: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    """A pool that dials through `backend` alone: no proxy, no retries, nothing kept open."""
    return httpcore.AsyncConnectionPool(
        ssl_context=tls,
        max_keepalive_connections=0,
        network_backend=backend,
    )
