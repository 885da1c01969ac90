"""The lines that a start tells of its last three phases."""

import asyncio
from dataclasses import dataclass, field

import pytest

from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.telemetry.phases import TITLES, Phase, phase_line
from ourvidz_worker.wiring.phases import say, tell_start


@dataclass
class Worker:
    """A worker that has not started yet."""

    lane: Lane
    state: WorkerState = WorkerState.STARTING
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def end_start(self, state: WorkerState) -> None:
        """Its first start ends so."""
        self.state = state
        self.started.set()


@pytest.mark.anyio
async def test_three_lines_in_order_once_every_worker_has_tried() -> None:
    """O-7: one status line a phase; a worker that failed is told, and holds up nothing."""
    image, video = Worker(Lane.IMAGE), Worker(Lane.VIDEO)
    told: list[str] = []
    registered = asyncio.get_running_loop().create_future()

    async def registration() -> str:
        return str(await registered)

    telling = asyncio.create_task(
        tell_start(
            [image, video], registration=registration, health=lambda: "healthy", tell=told.append
        )
    )
    image.end_start(WorkerState.READY)
    await asyncio.wait([telling], timeout=0)
    assert told == []
    video.end_start(WorkerState.BACKOFF)
    registered.set_result("both addresses seen")
    await telling
    assert told == [
        "[4/6] worker launch: image ready, video backoff",
        "[5/6] auto-registration: both addresses seen",
        "[6/6] health monitoring: healthy",
    ]


def test_a_line_goes_out_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    say(phase_line(Phase.HEALTH, "healthy"))
    assert capsys.readouterr().out == "[6/6] health monitoring: healthy\n"


def test_every_phase_has_its_title() -> None:
    """O-7: the six phases in the contract's order."""
    assert [TITLES[phase] for phase in Phase] == [
        "environment validation",
        "model readiness",
        "memory assessment",
        "worker launch",
        "auto-registration",
        "health monitoring",
    ]
