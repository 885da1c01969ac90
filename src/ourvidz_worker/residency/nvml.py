"""NVIDIA's driver as a meter, through NVML: no CUDA context, so it costs the card nothing.

The library (`nvidia-ml-py`) is loaded when the first reading is asked for.
"""

import asyncio
import logging
from importlib import import_module
from typing import Any

from ourvidz_worker.residency.meter import Reading
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

LIBRARY = "pynvml"


class NvmlMeter:
    """One card of this machine."""

    has_device = True

    def __init__(self, device: str = "0", *, library: str = LIBRARY) -> None:
        """`device` is a card's number as the driver counts, or its `GPU-…` id."""
        self._device = device
        self._library = library
        self._nvml: Any = None
        self._handle: Any = None

    @classmethod
    def is_there(cls, device: str = "0", *, library: str = LIBRARY) -> bool:
        """True when the driver shows that card."""
        return cls(device, library=library).read_now() is not None

    async def read(self) -> Reading | None:
        """The card now; None while the driver does not answer."""
        return await asyncio.to_thread(self.read_now)

    async def describe(self) -> dict[str, str | int]:
        """Name, utilisation (%) and temperature (°C) as the driver tells them."""
        return await asyncio.to_thread(self._describe)

    def read_now(self) -> Reading | None:
        """As `read`, waiting for the driver in this thread."""
        try:
            memory = self._open().nvmlDeviceGetMemoryInfo(self._handle)
        except (ImportError, OSError, self._error()) as error:
            self._lost(error)
            return None
        return Reading(total_bytes=int(memory.total), free_bytes=int(memory.free))

    def _describe(self) -> dict[str, str | int]:
        try:
            nvml = self._open()
            rates = nvml.nvmlDeviceGetUtilizationRates(self._handle)
            heat = nvml.nvmlDeviceGetTemperature(self._handle, nvml.NVML_TEMPERATURE_GPU)
            name = nvml.nvmlDeviceGetName(self._handle)
        except (ImportError, OSError, self._error()) as error:
            self._lost(error)
            return {}
        return {"device": str(name), "utilisation": int(rates.gpu), "temperature": int(heat)}

    def _open(self) -> Any:  # noqa: ANN401 - a module without types
        if self._handle is None:
            self._nvml = import_module(self._library)
            self._nvml.nvmlInit()
            self._handle = (
                self._nvml.nvmlDeviceGetHandleByIndex(int(self._device))
                if self._device.isdecimal()
                else self._nvml.nvmlDeviceGetHandleByUUID(self._device)
            )
        return self._nvml

    def _error(self) -> type[Exception]:
        """The library's own error, once it is loaded."""
        error: type[Exception] = getattr(self._nvml, "NVMLError", OSError)
        return error

    def _lost(self, error: BaseException) -> None:
        """Open anew at the next look: a driver that was updated or reset has new handles."""
        self._handle = None
        log.debug("device not read", extra={"action": Action.DEVICE_LOST, "cause": repr(error)})
