"""Meters: what a device says of itself; without one, nothing."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from ourvidz_worker.domain.memory import GIB
from ourvidz_worker.residency.meter import NoMeter, Reading
from ourvidz_worker.residency.nvml import NvmlMeter
from ourvidz_worker.residency.simulated import SimulatedMeter

pytestmark = pytest.mark.anyio


class FakeDriver(ModuleType):
    """As much of NVML as the meter asks for."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """What the real library raises."""

    def __init__(self) -> None:
        super().__init__("fake_driver")
        self.opened: list[object] = []
        self.broken = False

    def nvmlInit(self) -> None:  # noqa: N802 - its name
        if self.broken:
            raise self.NVMLError

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        self.opened.append(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.opened.append(uuid)
        return uuid

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> SimpleNamespace:  # noqa: N802
        if self.broken:
            raise self.NVMLError
        return SimpleNamespace(total=48 * GIB, free=23 * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=97)

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:  # noqa: N802
        return 61

    def nvmlDeviceGetName(self, handle: object) -> str:  # noqa: N802
        return "a card"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    made = FakeDriver()
    monkeypatch.setitem(sys.modules, "fake_driver", made)
    return made


async def test_the_driver_tells_what_is_free_whoever_uses_it(driver: FakeDriver) -> None:
    """M-2: the truth is the device's free memory."""
    meter = NvmlMeter("1", library="fake_driver")
    assert await meter.read() == Reading(total_bytes=48 * GIB, free_bytes=23 * GIB)
    assert await meter.describe() == {"device": "a card", "utilisation": 97, "temperature": 61}
    assert driver.opened == [1]
    await NvmlMeter("GPU-abc", library="fake_driver").read()
    assert driver.opened == [1, "GPU-abc"]


async def test_a_driver_that_fails_is_opened_anew(driver: FakeDriver) -> None:
    meter = NvmlMeter("0", library="fake_driver")
    await meter.read()
    driver.broken = True
    assert await meter.read() is None
    assert await meter.describe() == {}
    driver.broken = False
    assert await meter.read() is not None
    assert driver.opened == [0, 0]


async def test_without_the_library_there_is_no_device() -> None:
    assert not NvmlMeter.is_there(library="there_is_no_such_library")
    assert await NoMeter().read() is None
    assert await NoMeter().describe() == {}


async def test_a_simulated_device_is_what_its_workers_count_for() -> None:
    used = 10 * GIB
    meter = SimulatedMeter(48 * GIB, lambda: used)
    reading = await meter.read()
    assert reading is not None
    assert (reading.free_bytes, reading.used_bytes) == (38 * GIB, 10 * GIB)
    used = 60 * GIB
    reading = await meter.read()
    assert reading is not None
    assert reading.free_bytes == 0
    assert await meter.describe() == {"device": "simulated"}
