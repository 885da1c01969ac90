"""Dead letters of the lists worked anew (contract Q-21)."""

import secrets
from collections.abc import Mapping
from types import MappingProxyType

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import Conflict, NotFound, RequestError
from ourvidz_worker.domain.intake import find_id
from ourvidz_worker.queue.base import DeadLetter
from ourvidz_worker.queue.elements import write_element
from ourvidz_worker.queue.letters import name_letter, read_letter
from ourvidz_worker.queue.names import KEPT_LETTERS, LISTS
from ourvidz_worker.queue.records import to_job, to_kept
from ourvidz_worker.queue.steps import Steps
from ourvidz_worker.queue.wire import Argument

NO_LETTER = "There is no dead letter of that name."
NO_JOB = "What that dead letter's job was is no longer kept."

#: What the script answers instead of a list.
REFUSALS: Mapping[bytes, tuple[type[RequestError], str]] = MappingProxyType(
    {
        b"unknown": (NotFound, NO_LETTER),
        b"gone": (NotFound, NO_JOB),
        b"busy": (Conflict, "The job waits, is worked or has completed."),
        b"owed": (
            Conflict,
            "A callback of the job's former life is still owed; it must be told or given up first.",
        ),
    }
)


async def replay_letter(steps: Steps, letter_id: str, clock: Clock) -> str | None:
    """Put what a letter holds back into its list; its job's id. Raises `NotFound`, `Conflict`.

    An element goes in as it came. A job of our own interface gets a new element and keeps its
    record's payload.
    """
    letter = await _find(steps, letter_id)
    how = await _how(steps, letter)
    said = await steps.run("replay", letter_id, letter.job_id or "", *how, clock.now())
    if said in REFUSALS:
        kind, sentence = REFUSALS[said]
        raise kind(sentence)
    return letter.job_id


async def _find(steps: Steps, letter_id: str) -> DeadLetter:
    for text in await steps.run("dead", KEPT_LETTERS * len(LISTS)):
        if name_letter(text) == letter_id:
            return read_letter(text)
    raise NotFound(NO_LETTER)


async def _how(steps: Steps, letter: DeadLetter) -> tuple[Argument, Argument, Argument]:
    """The bytes to push; else the nonce of a new acceptance and the element that stands for it."""
    if letter.job_id is None:
        return letter.raw, "", ""
    kept = to_kept(await steps.run("find", letter.job_id))
    if kept and to_job(kept).arrival_known:
        job, nonce = to_job(kept), secrets.token_hex(8)
        return "", nonce, write_element(job.id, job.type, job.user_id, nonce)
    if find_id(letter.raw) != letter.job_id:
        raise NotFound(NO_JOB)
    return letter.raw, "", ""
