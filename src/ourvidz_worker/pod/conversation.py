"""Conversation: text for a caller who waits, on the chat lane, ahead of the queue's jobs."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

import msgspec

from ourvidz_worker.clock import Clock, within
from ourvidz_worker.domain.errors import AttemptError, DeadlinePassed, OutOfMemory, Unavailable
from ourvidz_worker.domain.lane import PriorityClass
from ourvidz_worker.domain.messages import (
    Computed,
    Failed,
    Finished,
    Outcome,
    Report,
    Run,
    Stopped,
    TextPiece,
)
from ourvidz_worker.domain.request import ChatRequest
from ourvidz_worker.domain.text_reply import TextPart, TextReply, TokenChoice
from ourvidz_worker.pod.outcomes import error_of
from ourvidz_worker.pod.pieces import Pieces
from ourvidz_worker.pod.slots import Slot
from ourvidz_worker.pod.supervisor import Supervisor
from ourvidz_worker.pod.worker_state import WorkerState

LEAVE_S = 10.0
"""How long a slot waits for its worker to leave a text that nobody wants any more."""

SUMMON_SHARE = 0.5
"""How much of a request's deadline may go by while its model is loaded."""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Runs text requests that nobody queued; nothing of them is stored.

    A text leaves no files, so its folder below `spool` is a name and is never made.
    `worker` serves the chat lane, None where the pod has none; `admit` may refuse. `summon` has a
    worker that is away loaded within so many seconds, and returns how many it took; it raises
    `Unavailable` where that cannot be.
    """

    worker: Supervisor | None
    spool: Path
    clock: Clock
    deadline_s: float
    admit: Callable[[ChatRequest], Awaitable[None]]
    draw_seed: Callable[[], int]
    count: Callable[[str], None]
    summon: Callable[[float], Awaitable[float]] | None = None
    most_waiting: int = 64
    """Callers beyond this many are told to come back later (T-8)."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[TextPart | TextReply, None]:
        """The text part by part, then the whole reply; closing it cancels the work.

        A part is all that came since the last one. It may hold choices alone: the text of their
        tokens comes with a later one.
        """
        await self.admit(request)
        waited_s = 0.0
        if self.summon is not None:
            waited_s = await self.summon(self.deadline_s * SUMMON_SHARE)
        worker = self._ready_worker()
        run = self._run_of(request, self.deadline_s - waited_s)
        pieces = Pieces()
        asked = worker.slots.ask(PriorityClass.INTERACTIVE)
        working = asyncio.create_task(self._work(worker, run, asked, pieces))
        working.add_done_callback(lambda _: pieces.end())
        choices: list[TokenChoice] = []
        try:
            while (part := await pieces.take()) is not None:
                choices.extend(part.choices)
                yield part
            yield reply_of(working.result(), tuple(choices))
            self.count("requests_served")
        finally:
            await self._end(worker, run, working)
            worker.slots.give_up(asked)

    async def complete(self, request: ChatRequest) -> TextReply:
        """The whole reply; a raw continuation keeps the white space that it begins with."""
        pieces: list[str] = []
        async for piece in self.stream(request):
            if isinstance(piece, TextPart):
                pieces.append(piece.text)
            elif request.text is not None:
                return msgspec.structs.replace(piece, text="".join(pieces))
            else:
                return piece
        raise Unavailable

    def _ready_worker(self) -> Supervisor:
        worker = self.worker
        if worker is None or worker.state is not WorkerState.READY:
            raise Unavailable("The chat model is not ready now; try again after a short wait.")
        if not worker.slots.free and worker.slots.waiting >= self.most_waiting:
            raise Unavailable("Too many requests wait for the chat model; try again later.")
        return worker

    def _run_of(self, request: ChatRequest, deadline_s: float) -> Run:
        attempt_id = uuid4().hex
        seed = request.sampling.seed
        return Run(
            attempt_id=attempt_id,
            job_id=attempt_id,
            request=request,
            seed=self.draw_seed() if seed is None else seed,
            spool=str(self.spool / attempt_id),
            deadline_s=deadline_s,
            quiet=True,
        )

    async def _work(
        self, worker: Supervisor, run: Run, asked: "asyncio.Future[Slot]", pieces: Pieces
    ) -> Outcome:
        """Run it; once more when it ran out of memory before any text was told (T-9)."""
        slot, left_s = await self._slot(worker, asked, run.deadline_s)
        run = msgspec.structs.replace(run, deadline_s=left_s)

        def watch(report: Report) -> None:
            if isinstance(report, TextPiece):
                pieces.put(report)
            elif isinstance(report, Computed):
                slot.release()

        try:
            outcome = await worker.run(run, watch)
            if _ran_out_of_memory(outcome) and not pieces.begun:
                return await worker.run(run, watch)
            return outcome
        finally:
            slot.release()

    async def _slot(
        self, worker: Supervisor, asked: "asyncio.Future[Slot]", deadline_s: float
    ) -> tuple[Slot, float]:
        """The slot asked for, and how much of the deadline is left (T-8)."""
        if asked.done():
            return asked.result(), deadline_s
        begun = self.clock.monotonic()
        try:
            slot = await within(self.clock, deadline_s, worker.slots.granted(asked))
        except TimeoutError:
            raise DeadlinePassed from None
        return slot, deadline_s - (self.clock.monotonic() - begun)

    async def _end(self, worker: Supervisor, run: Run, working: "asyncio.Task[Outcome]") -> None:
        """Stop what still runs, and wait until the worker has left it."""
        if working.done():
            await asyncio.gather(working, return_exceptions=True)  # nobody may have asked for it
            return
        await worker.cancel(run.attempt_id)
        if worker.holds(run.attempt_id):
            await asyncio.wait({working}, timeout=LEAVE_S)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def reply_of(outcome: Outcome, choices: tuple[TokenChoice, ...] = ()) -> TextReply:
    """The reply in a finished outcome. Raises the error that any other one stands for.

    `choices` are all that came with the text's parts.
    """
    if isinstance(outcome, Failed):
        raise error_of(outcome)
    if isinstance(outcome, Stopped):
        raise Unavailable
    return msgspec.structs.replace(_reply(outcome), choices=choices)


def _ran_out_of_memory(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.code == OutOfMemory.code


def _reply(finished: Finished) -> TextReply:
    if len(finished.artifacts) != 1 or finished.artifacts[0].text is None:
        raise AttemptError(cause="a text request ended without one text")
    artifact, facts, receipt = finished.artifacts[0], finished.facts, finished.receipt
    metadata = artifact.metadata
    reason: Literal["stop", "length"] = "stop"
    if metadata.get("finish_reason") == "length":
        reason = "length"
    return TextReply(
        text=artifact.text or "",
        tokens=int(metadata.get("tokens_generated") or 0),
        prompt_tokens=int(facts.get("prompt_tokens") or 0),
        finish_reason=reason,
        generation_s=sum(stage.seconds for stage in receipt.stages),
        model_name=str(facts.get("model_name") or receipt.model),
        active_model="base" if facts.get("active_model_type") == "base" else "instruct",
        effective=receipt.effective,
        truncated=bool(facts.get("truncated")),
        dropped_messages=int(facts.get("dropped_messages") or 0),
        cached_tokens=int(facts.get("cached_tokens") or 0),
    )
