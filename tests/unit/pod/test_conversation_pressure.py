"""Texts when there are more of them than the worker takes at once (T-8, T-9)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.pod.scene import Scene

from ourvidz_worker.domain.artifact import Artifact
from ourvidz_worker.domain.errors import DeadlinePassed, ModelLoadFailed, Unavailable
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.lane import PriorityClass
from ourvidz_worker.domain.messages import Cancel, Finished, Run, Stopped
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.domain.request import ChatRequest, Request, Sampling
from ourvidz_worker.pod.conversation import Conversation

pytestmark = pytest.mark.anyio

ASKED = ChatRequest(job_type="chat_conversation", sampling=Sampling(), text="go on")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.open()
    yield made
    await made.close()


async def admit(request: Request) -> None:
    del request


def conversation(scene: Scene, most_waiting: int) -> Conversation:
    return Conversation(
        worker=scene.supervisor,
        spool=scene.spool,
        clock=scene.clock,
        deadline_s=90.0,
        admit=admit,
        draw_seed=lambda: 5,
        count=lambda name: None,
        most_waiting=most_waiting,
    )


def finished(run: Run) -> Finished:
    artifact = Artifact(index=0, media=Media.TEXT, text="x", metadata={"finish_reason": "stop"})
    return Finished(attempt_id=run.attempt_id, artifacts=(artifact,), receipt=Receipt())


async def test_a_full_waiting_room_is_told_at_once_however_many_come_together(
    scene: Scene,
) -> None:
    """T-8: 503 for who is too much, and for nobody else."""
    talk = conversation(scene, 3)
    asking = [asyncio.create_task(talk.complete(ASKED)) for _ in range(10)]
    await scene.until(lambda: sum(task.done() for task in asking) == 6)
    assert scene.supervisor.slots.waiting == 3
    refused = [task.exception() for task in asking if task.done()]
    assert {type(error) for error in refused} == {Unavailable}
    for served in range(1, 5):
        await scene.until(lambda served=served: len(scene.runs()) == served)  # type: ignore[misc]
        scene.report(finished(scene.runs()[-1]))
    await scene.until(lambda: all(task.done() for task in asking))
    assert sum(task.exception() is None for task in asking) == 4
    assert scene.supervisor.slots.taken == 0


async def test_without_a_waiting_room_a_free_slot_is_still_had(scene: Scene) -> None:
    talk = conversation(scene, 0)
    first = asyncio.create_task(talk.complete(ASKED))
    run = await scene.given()
    with pytest.raises(Unavailable):
        await talk.complete(ASKED)
    scene.report(finished(run))
    await first


async def test_a_caller_who_leaves_makes_room_for_the_next(scene: Scene) -> None:
    """T-8: a disconnected caller's slot goes to who waits, once the worker has left the text."""
    talk = conversation(scene, 1)
    leaving = asyncio.create_task(talk.complete(ASKED))
    first = await scene.given()
    waiting = asyncio.create_task(talk.complete(ASKED))
    await scene.until(lambda: scene.supervisor.slots.waiting == 1)
    leaving.cancel()
    await scene.until(lambda: bool(scene.sent(Cancel)))
    assert len(scene.runs()) == 1
    scene.report(Stopped(attempt_id=first.attempt_id, reason="cancelled"))
    await scene.until(lambda: len(scene.runs()) == 2)
    scene.report(finished(scene.runs()[-1]))
    assert (await waiting).finish_reason == "stop"
    await asyncio.gather(leaving, return_exceptions=True)


async def test_a_stream_closed_before_it_ran_holds_no_slot(scene: Scene) -> None:
    slots = scene.supervisor.slots
    stream = conversation(scene, 1).stream(ASKED)
    reading = asyncio.ensure_future(anext(stream))
    await scene.until(lambda: slots.taken == 1)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await stream.aclose()
    assert (slots.taken, slots.waiting) == (0, 0)


async def test_the_deadline_runs_while_a_text_waits_behind_jobs(scene: Scene) -> None:
    """T-8: 504 after 90 s, and the place in the line is free again."""
    slots = scene.supervisor.slots
    job = await slots.take(PriorityClass.NORMAL)
    waiting = asyncio.create_task(conversation(scene, 1).complete(ASKED))
    await scene.until(lambda: slots.waiting == 1)
    await scene.clock.advance(89.0)
    assert not waiting.done()
    await scene.clock.advance(1.0)
    with pytest.raises(DeadlinePassed):
        await waiting
    assert slots.waiting == 0
    job.release()
    assert slots.taken == 0


async def test_a_worker_that_cannot_be_had_is_told_at_once(scene: Scene) -> None:
    scene.supervisor.slots.refuse()
    with pytest.raises(ModelLoadFailed):
        await conversation(scene, 1).complete(ASKED)
