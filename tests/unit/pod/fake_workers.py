"""A worker without a process: tests say what it reports and when it ends."""

import asyncio

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.messages import Command, Description, Ready, Report
from ourvidz_worker.pod.link import WorkerLink
from ourvidz_worker.pod.pipe import WorkerPipe
from ourvidz_worker.pod.process import WorkerProcess


class FakePipe(WorkerPipe):
    """Keeps the commands sent; hands out the reports that a test puts in."""

    def __init__(self) -> None:
        self.address = "fake"
        self.sent: list[Command] = []
        self.reports: asyncio.Queue[Report] = asyncio.Queue()

    async def receive(self) -> list[Report]:
        return [await self.reports.get()]

    async def pending(self) -> bool:
        return not self.reports.empty()

    async def send(self, command: Command) -> None:
        self.sent.append(command)

    def close(self) -> None:
        return None


class FakeProcess(WorkerProcess):
    """Lives until a test ends it, or it is killed."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        return 4242

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    def kill(self) -> None:
        if not self.ended.done():
            self.ended.set_result(-9)


class FakeWorker:
    """One incarnation: its process, its pipe, and the link over both."""

    def __init__(self, clock: Clock) -> None:
        self.process = FakeProcess()
        self.pipe = FakePipe()
        self.link = WorkerLink(self.process, self.pipe, clock)

    def get_ready(self, capacity: int = 1) -> None:
        """Report that the engine can serve."""
        description = Description(engine="fake", model="none", device="cpu", capacity=capacity)
        self.pipe.reports.put_nowait(Ready(description=description))
