"""Telling: callbacks to the configured address, or silence where there is none."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from ourvidz_worker.callbacks.pump import OutboxPump
from ourvidz_worker.callbacks.sender import CallbackSender
from ourvidz_worker.callbacks.signing import Signer
from ourvidz_worker.callbacks.teller import Teller
from ourvidz_worker.clock import Clock
from ourvidz_worker.config import Config
from ourvidz_worker.domain.intake import Limits
from ourvidz_worker.domain.job import Lease
from ourvidz_worker.queue import CallbackRow, Settlement, Store


class Telling(Protocol):
    """What a pod does about callbacks."""

    def processing(self, lease: Lease) -> bytes | None:
        """The body owed when work begins."""
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


def make_telling(
    config: Config,
    queue: Store,
    clock: Clock,
    *,
    worker_id: str,
    limits: Limits,
    jitter: Callable[[], float],
) -> Telling:
    """Callbacks where `CALLBACK_URL` is set, else silence."""
    if not config.callback_url:
        return Silence()
    signer = Signer(callback_secret=config.job_callback_secret)
    sender = CallbackSender(config.callback_url, signer, clock)
    return Callbacks(
        Teller(worker_id, limits, clock), sender, OutboxPump(queue, sender, clock, jitter)
    )


class Silence:
    """Nobody is to be told."""

    def __init__(self) -> None:
        """Nothing to hold but the end."""
        self._stop = asyncio.Event()

    def processing(self, lease: Lease) -> bytes | None:
        """Nothing is owed."""
        return None

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
        self, teller: Teller, sender: CallbackSender, pump: OutboxPump[CallbackRow]
    ) -> None:
        """The pump reads the queue's outbox."""
        self._teller = teller
        self._sender = sender
        self._pump = pump
        self._stop = asyncio.Event()
        self._idle = asyncio.Event()

    def processing(self, lease: Lease) -> bytes | None:
        """The body owed when work begins."""
        return self._teller.processing(lease)

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
