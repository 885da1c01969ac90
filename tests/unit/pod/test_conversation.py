"""Text for a caller who waits: streamed, bounded, and stopped when the caller leaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.unit.pod.scene import Scene

from ourvidz_worker.domain.artifact import Artifact
from ourvidz_worker.domain.errors import DeadlinePassed, OutOfMemory, Refused, Unavailable
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.messages import Cancel, Failed, Finished, Run, Stopped, TextPiece
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.domain.request import ChatRequest, Request, Sampling
from ourvidz_worker.domain.text_reply import TextPart, TextReply, TokenChance, TokenChoice
from ourvidz_worker.pod.conversation import Conversation

pytestmark = pytest.mark.anyio

ASKED = ChatRequest(job_type="chat_conversation", sampling=Sampling(), text="go on")


async def admit(request: Request) -> None:
    if getattr(request, "text", "") == "forbidden":
        raise Refused


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.open()
    yield made
    await made.close()


def conversation(
    scene: Scene, summon: Callable[[float], Awaitable[float]] | None = None
) -> Conversation:
    return Conversation(
        worker=scene.supervisor,
        spool=scene.spool,
        clock=scene.clock,
        deadline_s=90.0,
        admit=admit,
        draw_seed=lambda: 5,
        count=lambda name: None,
        summon=summon,
    )


def report(scene: Scene, run: Run, *pieces: str) -> None:
    """Play the worker: the pieces of a text, one after another."""
    for number, piece in enumerate(pieces, start=1):
        scene.player.pipe.reports.put_nowait(
            TextPiece(attempt_id=run.attempt_id, text=piece, tokens=number)
        )


def finish(scene: Scene, run: Run, text: str) -> None:
    """Play the worker: the end of a text."""
    artifact = Artifact(
        index=0,
        media=Media.TEXT,
        text=text,
        metadata={"tokens_generated": 2, "finish_reason": "length"},
    )
    scene.player.pipe.reports.put_nowait(
        Finished(
            attempt_id=run.attempt_id,
            artifacts=(artifact,),
            receipt=Receipt(),
            facts={"prompt_tokens": 3, "cached_tokens": 2},
        )
    )


async def test_pieces_come_as_they_are_made_and_then_the_whole(scene: Scene) -> None:
    stream = conversation(scene).stream(ASKED)
    first = asyncio.ensure_future(anext(stream))
    run = await scene.given()
    report(scene, run, " and", " on")
    assert await first == TextPart(text=" and")
    assert await anext(stream) == TextPart(text=" on")
    finish(scene, run, "and on")
    reply = await anext(stream)
    assert isinstance(reply, TextReply)
    assert (reply.text, reply.tokens, reply.prompt_tokens) == ("and on", 2, 3)
    assert reply.cached_tokens == 2
    assert (reply.finish_reason, run.seed) == ("length", 5)
    await stream.aclose()
    assert scene.supervisor.slots.taken == 0


async def test_a_slow_reader_gets_what_waited_as_one_part(scene: Scene) -> None:
    """T-9: one caller's slow connection holds up nobody, and holds no more than its text."""
    stream = conversation(scene).stream(ASKED)
    first = asyncio.ensure_future(anext(stream))
    run = await scene.given()
    report(scene, run, " and")
    assert await first == TextPart(text=" and")
    report(scene, run, " on", " and", " on")
    await scene.until(lambda: scene.player.pipe.reports.empty())
    assert await anext(stream) == TextPart(text=" on and on")
    finish(scene, run, "and on and on")
    assert isinstance(await anext(stream), TextReply)
    await stream.aclose()


async def test_a_text_has_no_folder(scene: Scene) -> None:
    whole = asyncio.create_task(conversation(scene).complete(ASKED))
    run = await scene.given()
    assert run.spool.startswith(str(scene.spool))
    finish(scene, run, "x")
    await whole
    assert await asyncio.to_thread(scene.spool.exists) is False


async def test_chances_come_with_their_part_and_all_of_them_with_the_whole(scene: Scene) -> None:
    top = (TokenChance(token=" or", logprob=-2.0),)
    first = TokenChoice(token=" a", logprob=-0.5, top=top)
    second, third = TokenChoice(token="nd", logprob=0.0), TokenChoice(token=" on", logprob=-1.0)
    stream = conversation(scene).stream(ASKED)
    begun = asyncio.ensure_future(anext(stream))
    run = await scene.given()
    for text, choices in (("", (first,)), (" and on", (second, third))):
        scene.player.pipe.reports.put_nowait(
            TextPiece(attempt_id=run.attempt_id, text=text, tokens=1, choices=choices)
        )
    assert await begun == TextPart(text="", choices=(first,))
    finish(scene, run, "and on")
    rest = [item async for item in stream]
    assert rest[0] == TextPart(text=" and on", choices=(second, third))
    assert isinstance(rest[1], TextReply)
    assert rest[1].choices == (first, second, third)


async def test_a_raw_completion_keeps_the_white_space_it_begins_with(scene: Scene) -> None:
    whole = asyncio.create_task(conversation(scene).complete(ASKED))
    run = await scene.given()
    report(scene, run, " and", " on")
    finish(scene, run, "and on")
    assert (await whole).text == " and on"


async def test_a_caller_who_leaves_frees_the_slot_once_the_worker_has_left(scene: Scene) -> None:
    stream = conversation(scene).stream(ASKED)
    first = asyncio.ensure_future(anext(stream))
    run = await scene.given()
    report(scene, run, " and")
    await first
    closing = asyncio.create_task(stream.aclose())
    await scene.until(lambda: bool(scene.sent(Cancel)))
    assert scene.supervisor.slots.taken == 1
    scene.player.pipe.reports.put_nowait(Stopped(attempt_id=run.attempt_id, reason="cancelled"))
    await closing
    assert scene.supervisor.slots.taken == 0


async def test_a_caller_who_leaves_while_waiting_takes_no_slot(scene: Scene) -> None:
    talk = conversation(scene)
    running = asyncio.create_task(talk.complete(ASKED))
    run = await scene.given()
    waiting = asyncio.create_task(talk.complete(ASKED))
    await scene.until(lambda: scene.supervisor.slots.waiting == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert scene.supervisor.slots.waiting == 0
    finish(scene, run, "x")
    assert (await running).finish_reason == "length"


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (
            lambda run: Failed(
                attempt_id=run.attempt_id, code="TIMEOUT_ERROR", sentence="Late.", retryable=True
            ),
            DeadlinePassed,
        ),
        (lambda run: Stopped(attempt_id=run.attempt_id, reason="draining"), Unavailable),
    ],
)
async def test_what_ends_badly_is_raised_as_the_error_it_stands_for(
    scene: Scene, outcome: Callable[[Run], Failed | Stopped], error: type[Exception]
) -> None:
    whole = asyncio.create_task(conversation(scene).complete(ASKED))
    scene.player.pipe.reports.put_nowait(outcome(await scene.given()))
    with pytest.raises(error):
        await whole


async def test_refused_and_unready_requests_never_reach_a_worker(scene: Scene) -> None:
    talk = conversation(scene)
    with pytest.raises(Refused):
        await talk.complete(ChatRequest(job_type="x", sampling=Sampling(), text="forbidden"))
    scene.player.process.kill()
    await scene.clock.advance(0)
    with pytest.raises(Unavailable):
        await talk.complete(ASKED)
    assert scene.runs() == []


def out_of_memory(run: Run) -> Failed:
    return Failed(attempt_id=run.attempt_id, code="OOM_ERROR", sentence="Full.", retryable=True)


async def test_a_text_that_ran_out_of_memory_is_tried_once_more(scene: Scene) -> None:
    """T-9: one retry after cache release on OOM, then 503 `OOM_ERROR`."""
    asked: list[object] = []

    async def relieve(lane: object) -> None:
        asked.append(lane)

    scene.supervisor.relieve = relieve
    whole = asyncio.create_task(conversation(scene).complete(ASKED))
    scene.player.pipe.reports.put_nowait(out_of_memory(await scene.given()))
    await scene.until(lambda: len(scene.runs()) == 2)
    assert len(asked) == 1
    finish(scene, scene.runs()[-1], "x")
    assert (await whole).finish_reason == "length"

    whole = asyncio.create_task(conversation(scene).complete(ASKED))
    for tries in (3, 4):
        await scene.until(lambda tries=tries: len(scene.runs()) == tries)  # type: ignore[misc]
        scene.player.pipe.reports.put_nowait(out_of_memory(scene.runs()[-1]))
    with pytest.raises(OutOfMemory):
        await whole


async def test_a_text_that_was_told_in_part_is_not_begun_again(scene: Scene) -> None:
    stream = conversation(scene).stream(ASKED)
    first = asyncio.ensure_future(anext(stream))
    run = await scene.given()
    report(scene, run, " and")
    await first
    scene.player.pipe.reports.put_nowait(out_of_memory(run))
    with pytest.raises(OutOfMemory):
        await anext(stream)


async def test_waiting_for_a_slot_and_for_a_load_counts_against_the_deadline(
    scene: Scene,
) -> None:
    """T-8: the deadline is the request's, however it goes by; then it is a time-out."""

    async def summon(within_s: float) -> float:
        assert within_s == 45.0
        return 30.0

    talk = conversation(scene, summon)
    running = asyncio.create_task(talk.complete(ASKED))
    run = await scene.given()
    assert run.deadline_s == 60.0
    waiting = asyncio.create_task(talk.complete(ASKED))
    await scene.until(lambda: scene.supervisor.slots.waiting == 1)
    await scene.clock.advance(60.0)
    with pytest.raises(DeadlinePassed):
        await waiting
    assert scene.supervisor.slots.waiting == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_model_that_cannot_come_in_time_is_told_at_once(scene: Scene) -> None:
    """T-8: 503 with Retry-After."""

    async def summon(within_s: float) -> float:
        raise Unavailable(retry_after_s=7.0)

    with pytest.raises(Unavailable):
        await conversation(scene, summon).complete(ASKED)
    assert scene.runs() == []
