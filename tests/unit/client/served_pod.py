"""The fake pod on a real port of this machine, with jobs that play a script of the test's."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import uvicorn

from ourvidz_worker.domain.artifact import Asset
from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.job import Status
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.receipt import Difference, Receipt, StageTime
from ourvidz_worker.queue import CancelOutcome, JobRecord
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.desks import KEYS, FakeJobs, FakePod

Script = Callable[[FakeJobs, str], None]
Result = TypeVar("Result")

KEY = KEYS[0]
PICTURE, THUMBNAIL = b"picture bytes", b"thumbnail bytes"


class ActingJobs(FakeJobs):
    """Plays `script` for every new job; ends a cancelled one, if it is obedient."""

    def __init__(self, clock: FakeClock, script: Script, *, obedient: bool) -> None:
        super().__init__(clock)
        self.script = script
        self.obedient = obedient

    async def submit(self, payload: bytes, *, job_id: str | None = None) -> tuple[JobRecord, bool]:
        record, is_new = await super().submit(payload, job_id=job_id)
        if is_new:
            self.script(self, record.job.id)
        return record, is_new

    async def cancel(self, job_id: str) -> CancelOutcome:
        outcome = await super().cancel(job_id)
        if outcome == "requested" and self.obedient:
            self.end(job_id, Status.CANCELLED)
        return outcome


class ServedPod:
    """A fake pod that listens; its thread lives as long as the context around it."""

    def __init__(self, pod: FakePod, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.pod = pod
        self.url = url
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something inside the pod's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def play(self, script: Script, job_id: str) -> None:
        """Let a job go on, inside the pod's loop."""

        async def act() -> None:
            script(self.pod.jobs, job_id)

        self.run(act())


@contextmanager
def served(script: Script, *, obedient: bool = True) -> Iterator[ServedPod]:
    """A pod whose jobs play `script` as soon as they are handed in."""
    pod = FakePod()
    pod.jobs = ActingJobs(pod.clock, script, obedient=obedient)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(pod.app(), log_config=None, timeout_graceful_shutdown=1)
        )
        loop = asyncio.new_event_loop()
        work = server.serve(sockets=[listener])
        thread = threading.Thread(target=loop.run_until_complete, args=(work,))
        thread.start()
        try:
            yield ServedPod(pod, f"http://127.0.0.1:{port}", loop)
        finally:
            loop.call_soon_threadsafe(setattr, server, "should_exit", True)
            thread.join(timeout=30)
            loop.close()


def begin(jobs: FakeJobs, job_id: str) -> None:
    """The job has started and is half way."""
    jobs.start(job_id)
    jobs.tell(job_id, EventKind.PROGRESS, stage="denoise", step=1, steps=2, fraction=0.5, eta_s=3.0)


def complete(jobs: FakeJobs, job_id: str) -> None:
    """The job runs and gives two pictures, one without a thumbnail."""
    begin(jobs, job_id)
    assets = []
    for index in range(2):
        key = f"u/{job_id}/{index}"
        jobs.files[job_id, index, False] = (PICTURE, "image/png")
        jobs.files[job_id, index, True] = (THUMBNAIL, "image/webp")
        thumbnail = f"{key}.thumb.webp" if index == 0 else None
        assets.append(
            Asset(
                index=index,
                media=Media.IMAGE,
                key=f"{key}.png",
                thumbnail_key=thumbnail,
                media_type="image/png",
                metadata={"width": 128, "height": 72},
            )
        )
    receipt = Receipt(
        job_id=job_id,
        stages=(StageTime(stage="denoise", seconds=1.5),),
        differences=(Difference(parameter="size", requested="9", effective="8", reason="small"),),
    )
    jobs.end(job_id, Status.COMPLETED, assets=assets, receipt=receipt)


def write(jobs: FakeJobs, job_id: str) -> None:
    """The job runs and gives a text."""
    begin(jobs, job_id)
    asset = Asset(index=0, media=Media.TEXT, text="Two words", metadata={"tokens_generated": 2})
    jobs.end(job_id, Status.COMPLETED, assets=[asset], receipt=Receipt(job_id=job_id))


def fail(jobs: FakeJobs, job_id: str) -> None:
    """The job runs, is tried again, and fails."""
    begin(jobs, job_id)
    jobs.tell(job_id, EventKind.RETRIED, code="OOM_ERROR")
    jobs.end(job_id, Status.FAILED, error=AttemptError())
