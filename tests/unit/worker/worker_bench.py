"""A worker on a bench, for the tests of its main loop."""

from queue import SimpleQueue
from typing import Any

from tests.unit.worker.worker_parts import Hands, fake_engine

from ourvidz_worker.domain.messages import Description, Failed, Finished, Report, Stopped
from ourvidz_worker.engines import Engine
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.worker.main import Event, Worker

OUTLINE = Description(engine="outline", model="m", device="cpu")


class Bench:
    """A worker on a bench: its inbox, what it sent, its threads and its time."""

    def __init__(self, engine: Engine[Any] | None = None, *, ready: bool = True) -> None:
        self.clock, self.hands, self.sent = FakeClock(), Hands(), list[Report]()
        self.inbox: SimpleQueue[Event] = SimpleQueue()
        self.engine = engine or fake_engine(capacity=2)
        self.trimmed: list[bool] = []
        self.worker = Worker(
            lambda: self.engine,
            OUTLINE,
            send=self.sent.append,
            inbox=self.inbox,
            clock=self.clock,
            threads=self.hands.threads(),
            trim=lambda: self.trimmed.append(True),
        )
        self.worker.start()
        if ready:
            self.hands.load.work()
            self.settle()

    def settle(self) -> None:
        """Let the worker take every event there is, and look at its clock."""
        self.worker.tick()
        while not self.inbox.empty():
            self.worker.take(self.inbox.get_nowait())
            self.worker.tick()

    def take(self, event: Event) -> None:
        """Let the worker take one event."""
        self.worker.take(event)
        self.settle()

    def compute(self, most: int = 100) -> None:
        """Let the threads that compute work."""
        self.hands.compute.work(most)
        self.settle()

    def encode(self, most: int = 100) -> None:
        """Let the threads that encode work."""
        self.hands.encode.work(most)
        self.settle()

    def outcomes(self) -> list[Finished | Failed | Stopped]:
        """Every outcome sent; none came twice."""
        ends = [each for each in self.sent if isinstance(each, Finished | Failed | Stopped)]
        assert len({each.attempt_id for each in ends}) == len(ends), "an outcome came twice"
        return ends
