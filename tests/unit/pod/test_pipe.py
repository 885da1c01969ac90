"""A pipe whose worker has gone: nobody who sends to it hangs, breaks or is taken for cancelled."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq.asyncio
from tests.unit.pod.fake_workers import FakeProcess

from ourvidz_worker.domain.errors import WorkerLost
from ourvidz_worker.domain.messages import Cancel, Run
from ourvidz_worker.domain.request import AdminRequest
from ourvidz_worker.pod.link import WorkerLink
from ourvidz_worker.pod.pipe import WorkerPipe
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


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[WorkerPipe]:
    context = zmq.asyncio.Context()
    yield WorkerPipe(context, f"ipc://{tmp_path}/pipe")
    context.destroy(linger=0)


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
