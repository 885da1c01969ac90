"""`ourvidz-worker memory` against a pod on a real port."""

from collections.abc import Iterator

import msgspec
import pytest
from tests.unit.client.served_pod import KEY, ServedPod, complete, served

from ourvidz_worker.cli.main import run
from ourvidz_worker.client import Client, NotNow
from ourvidz_worker.domain.errors import OutOfMemory, Unavailable
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import (
    MemoryEvent,
    MemoryReport,
    Operation,
    Order,
    Prediction,
    WorkerMemory,
)

REPORT = MemoryReport(
    pressure_level="high",
    available_vram=6144,
    worker_status={
        "sdxl": WorkerMemory(
            loaded=True,
            memory=10_240,
            peak=8_192,
            in_use=True,
            last_used="2026-01-31T12:00:00.000Z",
            state="loaded",
            budget=10_240,
            pinned=False,
        )
    },
    recommendations=("chat is idle and could be unloaded",),
    predictions={
        "sdxl": Prediction(waiting=2, arrivals_per_minute=1.5, expected=2.5, load_seconds=9.0)
    },
    events=(
        MemoryEvent(
            at="2026-01-31T12:00:00.000Z",
            event="evict",
            worker="chat",
            reason="room",
            made_for="wan",
            operation=None,
            succeeded=True,
            seconds=1.25,
            freed=15_360,
        ),
    ),
)


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedPod]:
    with served(complete) as running:
        monkeypatch.setenv("OURVIDZ_URL", running.url)
        monkeypatch.setenv("OURVIDZ_KEY", KEY)
        monkeypatch.setattr(running.pod.memory, "memory_report", lambda: REPORT)
        yield running


def test_the_map_is_the_first_thing_shown(
    pod: ServedPod, capsys: pytest.CaptureFixture[str]
) -> None:
    """9: the same as over HTTP, for a person."""
    assert run(["memory"]) == run(["memory", "map"]) == 0
    shown = capsys.readouterr()
    row = "sdxl\tloaded\t10.0 GiB\t8.0 GiB\t10.0 GiB\tyes\t2\t2026-01-31T12:00:00.000Z\n"
    assert shown.out == row * 2
    told = "6.0 GiB available, pressure high\nchat is idle and could be unloaded\n"
    assert shown.err == told * 2


def test_the_report_and_the_events(pod: ServedPod, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["memory", "report"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=MemoryReport) == REPORT
    assert run(["memory", "events"]) == 0
    assert capsys.readouterr().out.split("\t")[1:] == [
        "evict",
        "chat",
        "room",
        "wan",
        "done",
        "1.2 s",
        "15.0 GiB\n",
    ]


def test_loads_and_unloads(pod: ServedPod, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["memory", "load", "wan", "--force"]) == 0
    assert run(["memory", "load"]) == 0
    assert run(["memory", "unload", "chat"]) == 0
    memory = pod.pod.memory
    assert memory.loads == [((Lane.VIDEO,), True), ((Lane.IMAGE,), False)]
    assert memory.unloads == [((Lane.CHAT,), False)]
    assert capsys.readouterr().out == "loaded: wan\nloaded: sdxl\nunloaded: chat\n"
    memory.error = OutOfMemory()
    assert run(["memory", "load", "wan"]) == 4
    assert "OOM_ERROR" in capsys.readouterr().err


@pytest.mark.parametrize("operation", list(Operation))
def test_every_operation(
    pod: ServedPod, operation: Operation, capsys: pytest.CaptureFixture[str]
) -> None:
    """9: the same operations are available on the command line."""
    words = ["memory", "operate", operation.value, "--target", "wan", "--required-gb", "12"]
    assert run([*words, "--force"]) == 0
    order = Order(operation=operation, target=Lane.VIDEO, required_gb=12.0, force=True)
    assert pod.pod.memory.orders == [order]
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("sdxl\tloaded\tloaded\n", "none; 0.0 GiB freed\n")


def test_an_operation_that_is_none_is_refused(pod: ServedPod) -> None:
    assert run(["memory", "operate", "explode"]) == 2
    assert run(["memory", "load", "everything"]) == 2
    assert pod.pod.memory.orders == []


def test_the_client_tells_the_status(pod: ServedPod) -> None:
    with Client(pod.url, KEY) as client:
        assert client.memory_status().total_vram == 48.0
        pod.pod.memory.error = Unavailable()
        with pytest.raises(NotNow):
            client.memory_status()
