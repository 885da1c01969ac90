"""The lines that a start tells of its last three phases."""

import asyncio
from dataclasses import dataclass, field

import pytest

from ourvidz_worker.config import Config
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.telemetry.phases import TITLES, Phase, phase_line
from ourvidz_worker.wiring.phases import health_of, registration_of, say, tell_start


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
    telling = asyncio.create_task(
        tell_start([image, video], registration="on", health=lambda: "healthy", tell=told.append)
    )
    image.end_start(WorkerState.READY)
    await asyncio.wait([telling], timeout=0)
    assert told == []
    video.end_start(WorkerState.BACKOFF)
    await telling
    assert told == [
        "[4/6] worker launch: image ready, video backoff",
        "[5/6] auto-registration: on",
        "[6/6] health monitoring: healthy",
    ]


def test_registration_says_what_is_told_to_whom() -> None:
    """G-1: an address, or why there is none."""
    deployed = Config(redis_url="redis://127.0.0.1")
    both = registration_of(deployed, wan="https://wan", chat="https://chat")
    assert both == "on, images and video at https://wan, chat at https://chat"
    assert registration_of(deployed, wan="", chat="https://chat") == "on, chat at https://chat"
    assert registration_of(deployed, wan="", chat="") == "off, no public address is to be told"
    assert registration_of(Config(), wan="", chat="") == "off, there is no application"


def test_health_says_how_it_is_and_where_to_ask() -> None:
    """H-1: both ports."""
    told = health_of(Config(), "healthy")
    assert told == "healthy, http://127.0.0.1:7860/health and http://127.0.0.1:7861/health"


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
