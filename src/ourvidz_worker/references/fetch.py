"""Fetching pictures from other machines: bounded in time and bytes, never redirected (R-1, R-2)."""

import logging
from collections.abc import Callable, Collection

import httpcore

from ourvidz_worker.clock import Clock, within
from ourvidz_worker.domain.errors import BadReference
from ourvidz_worker.references.dial import (
    GuardedBackend,
    Resolve,
    guarded_pool,
    resolve_by_system,
)
from ourvidz_worker.references.guard import Target, is_signed, read_home, read_url
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
"""R-2, for one reference with all its tries."""

TRIES = 3
OK = 200
REDIRECTS = range(300, 400)
REFUSALS = range(400, 500)
TRY_AGAIN = frozenset({408, 425, 429}) | frozenset(range(500, 600))
NOT_THERE = frozenset({404, 410})

HEADERS = [(b"Accept", b"image/png, image/jpeg, image/webp"), (b"Accept-Encoding", b"identity")]


class _Transient(Exception):
    """This try failed in a way that another may not."""


class UrlFetcher:
    """Fetches from the operator's own storage and from the hosts allowed, and nowhere else."""

    def __init__(
        self,
        clock: Clock,
        *,
        max_bytes: int,
        jitter: Callable[[], float],
        home: str | None = None,
        allowed_hosts: Collection[str] = (),
        resolve: Resolve = resolve_by_system,
    ) -> None:
        """`home` is the storage's URL, exempt from the address rule; `jitter` is 0..1."""
        self._clock = clock
        self._max_bytes = max_bytes
        self._jitter = jitter
        self._home = None if home is None else read_home(home)
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        exempt = () if self._home is None else (self._home.host,)
        self._pool = guarded_pool(
            GuardedBackend(exempt=exempt, resolve=resolve), tls=httpcore.default_ssl_context()
        )

    async def fetch(self, url: str) -> bytes:
        """The bytes behind `url`. Raises `BadReference`."""
        target = read_url(url, home=self._home, allowed_hosts=self._allowed)
        try:
            return await within(self._clock, TIMEOUT_S, self._fetch(target))
        except TimeoutError as error:
            raise BadReference(reason="REFERENCE_TIMEOUT") from error

    def signed_path(self, url: str) -> str | None:
        """The path of a signed URL of our own storage, for which there is another way (R-3)."""
        target = read_url(url, home=self._home, allowed_hosts=self._allowed)
        return target.target if is_signed(target, self._home) else None

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    async def _fetch(self, target: Target) -> bytes:
        for number in range(TRIES):
            try:
                return await self._try(target)
            except _Transient as error:
                log.warning(
                    "reference try failed",
                    extra={
                        "action": Action.REFERENCE_TRY_FAILED,
                        "tries": number + 1,
                        "cause": str(error),
                    },
                )
            if number + 1 < TRIES:
                await self._clock.sleep(2**number * (1 + self._jitter()) / 2)
        raise BadReference(reason="REFERENCE_TIMEOUT")

    async def _try(self, target: Target) -> bytes:
        url = httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.target.encode(),
        )
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
        try:
            async with self._pool.stream(
                "GET", url, headers=HEADERS, extensions={"timeout": timeouts}
            ) as response:
                _judge(response, target, signed=is_signed(target, self._home))
                return await self._read(response)
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
        ) as error:
            raise _Transient(type(error).__name__) from error

    async def _read(self, response: httpcore.Response) -> bytes:
        data = bytearray()
        async for piece in response.aiter_stream():
            data += piece
            if len(data) > self._max_bytes:
                raise BadReference(reason="REFERENCE_TOO_LARGE")
        return bytes(data)


def _judge(response: httpcore.Response, target: Target, *, signed: bool) -> None:
    """Raise unless the reply is a plain 200; the caller learns a reason code and no more.

    Every 4xx to a signed URL of our own storage counts as expired: there is another way (R-3).
    """
    status = response.status
    if signed and status in REFUSALS:
        raise BadReference(reason="REFERENCE_EXPIRED")
    if status in TRY_AGAIN:
        raise _Transient(f"status {status}")
    if status in REDIRECTS:
        raise BadReference(reason="REFERENCE_URL_BLOCKED")
    if status in NOT_THERE:
        raise BadReference(reason="REFERENCE_NOT_FOUND")
    if status != OK:
        ended = "token=" in target.target
        raise BadReference(reason="REFERENCE_EXPIRED" if ended else "REFERENCE_NOT_FOUND")
    encodings = [value for name, value in response.headers if name.lower() == b"content-encoding"]
    if any(value.lower() != b"identity" for value in encodings):
        raise BadReference(reason="REFERENCE_NOT_AN_IMAGE")
