"""Telling: callbacks to the application or a configured address, or silence where there is none."""

import asyncio
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from ourvidz_worker.callbacks import OutboxPump, Signer, Teller, read_webhook_secret
from ourvidz_worker.callbacks.sender import CallbackSender
from ourvidz_worker.clock import Clock
from ourvidz_worker.config import Config
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.intake import Limits
from ourvidz_worker.domain.job import Lease
from ourvidz_worker.domain.job_types import Family, find_job_type
from ourvidz_worker.queue import CallbackRow, Settlement, Store

FUNCTION = "/functions/v1/job-callback"
"""The application's function that takes callbacks (7.1)."""

ROWLESS = frozenset({Family.CHAT, Family.ADMIN})
"""The application has no rows of these families' jobs (J-2)."""


class Telling(Protocol):
    """What a pod does about callbacks."""

    def processing(self, lease: Lease) -> bytes | None:
        """The body owed when work begins."""
        ...

    def progress(self, lease: Lease, fraction: float) -> None:
        """Work goes on; nothing is owed for it."""
        ...

    def ended(self, lease: Lease, end: Settlement) -> bytes | None:
        """The body owed when a job has ended."""
        ...

    def kick(self) -> None:
        """Something may be due now."""
        ...

    def refused(self) -> bool:
        """True while our credentials are refused."""
        ...

    async def run(self) -> None:
        """Deliver until cancelled."""
        ...

    async def flush(self) -> None:
        """Stop, after one more try at what is due."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def _no_one(_job_id: str) -> None:
    """Nobody wants to know."""


def make_telling(
    config: Config,
    queue: Store,
    clock: Clock,
    *,
    worker_id: str,
    limits: Limits,
    jitter: Callable[[], float],
    skipped: Callable[[str], None] = _no_one,
) -> Telling:
    """Callbacks to `CALLBACK_URL`, else to the application; silence without either.

    `skipped` hears of jobs that the application had no use for any more. Raises `ConfigError`
    for a secret or an address that cannot be used.
    """
    url = target_of(config)
    if not url:
        return Silence()
    sender = CallbackSender(url, signer_of(config), clock)
    return Callbacks(
        Teller(worker_id, limits, clock, bucket_prefix=config.callback_url_bucket_prefix),
        sender,
        OutboxPump(queue, sender, clock, jitter, skipped=skipped),
        tells_progress=config.callback_progress,
    )


def target_of(config: Config) -> str:
    """Where callbacks go; empty for nowhere."""
    if config.callback_url or not config.supabase_url:
        return config.callback_url
    return config.supabase_url.rstrip("/") + FUNCTION


def signer_of(config: Config) -> Signer:
    """The keys that callbacks carry; the application's service key goes to its own host alone."""
    own = _origin(target_of(config)) == _origin(config.supabase_url)
    return Signer(
        callback_secret=config.job_callback_secret,
        service_key=config.supabase_service_role_key if own else "",
        webhook_secrets=[
            _webhook_secret(text.strip())
            for text in config.webhook_secrets.split(",")
            if text.strip()
        ],
    )


def _webhook_secret(text: str) -> bytes:
    try:
        return read_webhook_secret(text)
    except ConfigError as error:
        raise ConfigError(f"OURVIDZ_WEBHOOK_SECRETS: {error.sentence}") from error


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: all three must be the application's own."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError("the callback URL cannot be read", field="CALLBACK_URL") from error
    return parts.scheme, parts.hostname, port or {"http": 80, "https": 443}.get(parts.scheme)


class Silence:
    """Nobody is to be told."""

    def __init__(self) -> None:
        """Nothing to hold but the end."""
        self._stop = asyncio.Event()

    def processing(self, lease: Lease) -> bytes | None:
        """Nothing is owed."""
        return None

    def progress(self, lease: Lease, fraction: float) -> None:
        """Nobody listens."""

    def ended(self, lease: Lease, end: Settlement) -> bytes | None:
        """Nothing is owed."""
        return None

    def kick(self) -> None:
        """Nothing is due."""

    def refused(self) -> bool:
        """Nobody refuses."""
        return False

    async def run(self) -> None:
        """Wait for the end."""
        await self._stop.wait()

    async def flush(self) -> None:
        """End."""
        self._stop.set()

    async def close(self) -> None:
        """Nothing is open."""


class Callbacks:
    """Bodies go to the outbox, and from there to one address."""

    def __init__(
        self,
        teller: Teller,
        sender: CallbackSender,
        pump: OutboxPump[CallbackRow],
        *,
        tells_progress: bool = False,
    ) -> None:
        """The pump reads the queue's outbox."""
        self._teller = teller
        self._sender = sender
        self._pump = pump
        self._tells_progress = tells_progress
        self._stop = asyncio.Event()
        self._idle = asyncio.Event()

    def processing(self, lease: Lease) -> bytes | None:
        """The body owed when work begins."""
        row = find_job_type(lease.job.type)
        if row is not None and row.family in ROWLESS:
            self._pump.expect_no_row(lease.job.id)
        return self._teller.processing(lease)

    def progress(self, lease: Lease, fraction: float) -> None:
        """Work goes on: told seldom, and only where the operator wants it."""
        if self._tells_progress:
            self._pump.tell_progress(lease.job.id, lambda: self._teller.progress(lease, fraction))

    def ended(self, lease: Lease, end: Settlement) -> bytes | None:
        """The body owed when a job has ended; None for a cancelled one."""
        return self._teller.ended(lease, end)

    def kick(self) -> None:
        """Something may be due now."""
        self._pump.kick()

    def refused(self) -> bool:
        """True while the receiver refuses our credentials."""
        return self._pump.refused

    async def run(self) -> None:
        """Deliver until cancelled, or until `flush` has let it try once more."""
        try:
            await self._pump.run(self._stop)
        finally:
            self._idle.set()

    async def flush(self) -> None:
        """Stop, after one more try at what is due."""
        self._stop.set()
        self._pump.kick()
        await self._idle.wait()

    async def close(self) -> None:
        """Close every connection."""
        await self._sender.close()
