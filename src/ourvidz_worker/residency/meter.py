"""The meter: how much memory the device has and how much is free, whoever uses it (M-2)."""

from typing import Protocol

import msgspec


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the device, bytes; `free` counts every process on it, ours or not."""

    total_bytes: int
    free_bytes: int

    @property
    def used_bytes(self) -> int:
        """What everybody on the device uses together."""
        return self.total_bytes - self.free_bytes


class Meter(Protocol):
    """Reads one device."""

    @property
    def has_device(self) -> bool:
        """False when there is nothing to read and nothing to ration."""
        ...

    async def read(self) -> Reading | None:
        """The device now; None without one, or while it cannot be read."""
        ...

    async def describe(self) -> dict[str, str | int]:
        """What the driver says of the device for the log, such as its temperature."""
        ...


class NoMeter:
    """No device: the workers compute on the CPU, and memory is not rationed."""

    has_device = False

    async def read(self) -> Reading | None:
        """Nothing."""
        return None

    async def describe(self) -> dict[str, str | int]:
        """Nothing."""
        return {}
