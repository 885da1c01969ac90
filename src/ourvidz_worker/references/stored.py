"""Pictures that lie in our own storage: read by key, again when the storage is away (R-2)."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ourvidz_worker.clock import Clock, within
from ourvidz_worker.domain.errors import (
    BadReference,
    NotFound,
    PayloadTooLarge,
    UploadFailed,
    UploadRefused,
)
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
"""R-2, for one reference with all its tries."""

TRIES = 3


class Readable(Protocol):
    """A store whose files can be read."""

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """The bytes under `key`. Raises `NotFound`, and `PayloadTooLarge` above `max_bytes`."""
        ...


@dataclass(frozen=True)
class Patience:
    """How tries are spread: the clock, and a `jitter` of 0..1."""

    clock: Clock
    jitter: Callable[[], float]


class StoredPictures:
    """Reads pictures by key; every failure is a `BadReference`."""

    def __init__(self, store: Readable, *, max_bytes: int, patience: Patience | None) -> None:
        """Without `patience` a store that is away is asked once."""
        self._store = store
        self._max_bytes = max_bytes
        self._patience = patience

    async def read(self, key: str) -> bytes:
        """The bytes under `key`. Raises `BadReference`."""
        try:
            if self._patience is None:
                return await self._store.get(key, max_bytes=self._max_bytes)
            return await within(self._patience.clock, TIMEOUT_S, self._try(key, self._patience))
        except PayloadTooLarge as error:
            raise BadReference(reason="REFERENCE_TOO_LARGE") from error
        except (NotFound, UploadRefused) as error:
            raise BadReference(reason="REFERENCE_NOT_FOUND") from error
        except (TimeoutError, UploadFailed) as error:
            raise BadReference(reason="REFERENCE_TIMEOUT") from error

    async def _try(self, key: str, patience: Patience) -> bytes:
        for number in range(1, TRIES):
            try:
                return await self._store.get(key, max_bytes=self._max_bytes)
            except UploadRefused:
                raise
            except UploadFailed as error:
                log.warning(
                    "reference try failed",
                    extra={
                        "action": Action.REFERENCE_TRY_FAILED,
                        "tries": number,
                        "cause": error.facts.get("cause"),
                    },
                )
            await patience.clock.sleep(2 ** (number - 1) * (1 + patience.jitter()) / 2)
        return await self._store.get(key, max_bytes=self._max_bytes)
