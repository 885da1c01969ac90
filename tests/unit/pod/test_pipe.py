"""The pod's end of a pipe: many reports in a frame, and nobody hangs whose worker has gone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import zmq
from tests.unit.pod.fake_workers import FakeProcess

from ourvidz_worker.domain.errors import WorkerLost
from ourvidz_worker.domain.messages import Cancel, Computed, Report, Run, TextPiece, Trim
from ourvidz_worker.domain.request import AdminRequest
from ourvidz_worker.pod.link import WorkerLink
from ourvidz_worker.pod.pipe import MOST_FRAMES, WorkerPipe
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

RUN = Run(
    attempt_id="a1",
    job_id="j1",
    request=AdminRequest(job_type="admin_utilities"),
    seed=1,
    spool="none",
    deadline_s=1.0,
)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the tests' usual one, and the pod's."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def pipe(tmp_path: Path) -> AsyncIterator[WorkerPipe]:
    context = zmq.Context()
    pipe = WorkerPipe(context, f"ipc://{tmp_path}/pipe")
    yield pipe
    pipe.close()
    context.destroy(linger=0)


@pytest.fixture
def worker(pipe: WorkerPipe) -> Iterator[zmq.Socket[bytes]]:
    """The other end, bare."""
    context = zmq.Context()
    socket = context.socket(zmq.PAIR)
    socket.setsockopt(zmq.RCVTIMEO, 20_000)
    socket.connect(pipe.address)
    yield socket
    context.destroy(linger=0)


def piece(number: int) -> TextPiece:
    return TextPiece(attempt_id="a1", text=f"{number}\n", tokens=number)


def frame(*reports: Report) -> bytes:
    return b"\n".join(msgspec.json.encode(report) for report in reports)


async def receive(pipe: WorkerPipe, count: int) -> list[Report]:
    reports: list[Report] = []
    async with asyncio.timeout(20.0):
        while len(reports) < count:
            reports += await pipe.receive()
    return reports


async def test_all_reports_of_a_frame_come_in_order(
    pipe: WorkerPipe, worker: zmq.Socket[bytes]
) -> None:
    worker.send(frame(*map(piece, range(3))))
    worker.send(frame(Computed(attempt_id="a1")))
    worker.send(frame(*map(piece, range(3, 2 * MOST_FRAMES))))
    told = await receive(pipe, 2 * MOST_FRAMES + 1)
    assert told.pop(3) == Computed(attempt_id="a1")
    assert told == [piece(number) for number in range(2 * MOST_FRAMES)]


async def test_more_frames_than_are_taken_at_once_all_come(
    pipe: WorkerPipe, worker: zmq.Socket[bytes]
) -> None:
    for number in range(3 * MOST_FRAMES):
        worker.send(frame(piece(number)))
    told = await receive(pipe, 3 * MOST_FRAMES)
    assert told == [piece(number) for number in range(3 * MOST_FRAMES)]


async def test_commands_and_reports_in_turns_never_stall(
    pipe: WorkerPipe, worker: zmq.Socket[bytes]
) -> None:
    """The descriptor tells of a change once, and a send may use that up."""
    for number in range(300):
        listening = asyncio.create_task(receive(pipe, 1))
        await pipe.send(Cancel(attempt_id=f"a{number}"))
        command = await asyncio.to_thread(worker.recv)
        assert command == msgspec.json.encode(Cancel(attempt_id=f"a{number}"))
        worker.send(frame(piece(number)))
        await pipe.send(Trim())
        assert await listening == [piece(number)]
        await asyncio.to_thread(worker.recv)


async def test_commands_wait_for_their_worker_in_order(pipe: WorkerPipe) -> None:
    sending = [asyncio.create_task(pipe.send(Cancel(attempt_id=name))) for name in "abc"]
    await asyncio.to_thread(lambda: None)
    sending[1].cancel()
    context = zmq.Context()
    worker = context.socket(zmq.PAIR)
    worker.connect(pipe.address)
    await asyncio.gather(sending[0], sending[2])
    lines = (await asyncio.to_thread(worker.recv)).split(b"\n")
    assert [msgspec.json.decode(line)["attempt_id"] for line in lines] == ["a", "c"]
    context.destroy(linger=0)


async def test_commands_of_one_turn_go_down_in_one_frame(
    pipe: WorkerPipe, worker: zmq.Socket[bytes]
) -> None:
    await pipe.send(Trim())
    await asyncio.gather(*(pipe.send(Cancel(attempt_id=f"a{number}")) for number in range(64)))
    assert await asyncio.to_thread(worker.recv) == msgspec.json.encode(Trim())
    lines = (await asyncio.to_thread(worker.recv)).split(b"\n")
    told = [msgspec.json.decode(line)["attempt_id"] for line in lines]
    assert told == [f"a{number}" for number in range(64)]


async def test_last_words_are_waited_for_a_moment(
    pipe: WorkerPipe, worker: zmq.Socket[bytes]
) -> None:
    assert not await pipe.pending()
    worker.send(frame(piece(1)))
    assert await pipe.pending()
    assert await pipe.receive() == [piece(1)]


async def test_a_send_that_waits_for_a_worker_ends_with_the_pipe(pipe: WorkerPipe) -> None:
    """O-4: the worker ended under it."""
    sending = asyncio.create_task(pipe.send(Cancel(attempt_id="a1")))
    await asyncio.to_thread(lambda: None)
    assert not sending.done()
    pipe.close()
    with pytest.raises(WorkerLost):
        await sending


async def test_a_send_after_the_end_is_told_so(pipe: WorkerPipe) -> None:
    pipe.close()
    with pytest.raises(WorkerLost):
        await pipe.send(Cancel(attempt_id="a1"))


async def test_who_is_cancelled_while_sending_is_cancelled(pipe: WorkerPipe) -> None:
    sending = asyncio.create_task(pipe.send(Cancel(attempt_id="a1")))
    await asyncio.to_thread(lambda: None)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    pipe.close()


async def test_a_cancel_of_what_is_ending_is_no_error(pipe: WorkerPipe) -> None:
    """K-20: the watch over the rows goes on, whatever worker dies under it."""
    process = FakeProcess()
    link = WorkerLink(process, pipe, FakeClock())
    listening = asyncio.create_task(link.listen())
    running = asyncio.create_task(link.run(RUN, lambda report: None))
    await asyncio.to_thread(lambda: None)
    cancelling = asyncio.create_task(link.cancel("a1", "cancelled"))
    await asyncio.to_thread(lambda: None)
    process.kill()
    assert await listening == -9
    await cancelling
    with pytest.raises(WorkerLost):
        await running
