"""What was given up, for the operator: dead letters and dead callbacks, and their way back.

What they hold may be a user's words, so that only its length and digest are shown.
"""

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from ourvidz_worker.api.bodies import decode_query
from ourvidz_worker.api.call import Call
from ourvidz_worker.domain.errors import NotFound
from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.queue import DeadCallback, DeadLetter

MOST = 1000
"""As many as are kept of a list."""

MOST_DIGITS = 18
"""Digits of a callback's number: more would not fit the outbox's 64-bit integers."""


class DeadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How many to list."""

    limit: Annotated[int, Meta(ge=1, le=MOST, description=f"a whole number from 1 to {MOST}")] = 50


class LetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A job or element that could not be worked; of what came in, bytes and SHA-256."""

    id: str
    job_id: str | None
    code: str
    reason: str
    attempts: int
    at: str
    size_bytes: int
    sha256: str


class LetterList(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters, the newest first."""

    letters: tuple[LetterView, ...]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter waits again; `job_id` is null where it names no job."""

    id: str
    job_id: str | None


class DeadCallbackView(msgspec.Struct, frozen=True, kw_only=True):
    """A callback given up; of its body, bytes and SHA-256."""

    id: int
    job_id: str
    status: str
    reason: str
    attempts: int
    created_at: str
    at: str
    size_bytes: int
    sha256: str


class DeadCallbackList(msgspec.Struct, frozen=True, kw_only=True):
    """Dead callbacks of this pod, the newest first."""

    callbacks: tuple[DeadCallbackView, ...]


class Revived(msgspec.Struct, frozen=True, kw_only=True):
    """A callback is owed again."""

    id: int


async def letters(call: Call) -> Response:
    """List the newest dead letters."""
    query = decode_query(call.request.query_params, DeadQuery)
    found = await call.site.dead.letters(query.limit)
    return call.reply(LetterList(letters=tuple(map(_letter_view, found))))


async def replay(call: Call) -> Response:
    """Let a dead letter be worked anew: its job begins another life under its id.

    Refused while that job waits, is worked or still owes callbacks, and when it has completed.
    """
    letter_id = call.name("letter_id")
    job_id = await call.site.dead.replay(letter_id)
    return call.reply(Replayed(id=letter_id, job_id=job_id), 202)


async def callbacks(call: Call) -> Response:
    """List the newest callbacks that this pod has given up."""
    query = decode_query(call.request.query_params, DeadQuery)
    found = await call.site.dead.callbacks(query.limit)
    return call.reply(DeadCallbackList(callbacks=tuple(map(_callback_view, found))))


async def revive(call: Call) -> Response:
    """Send a dead callback again, with the same bytes and anew for as long as any other.

    One of a job's course is refused once that job's end was accepted.
    """
    number = call.name("callback_id")
    if not (number.isascii() and number.isdecimal() and len(number) <= MOST_DIGITS):
        raise NotFound
    await call.site.dead.revive(int(number))
    return call.reply(Revived(id=int(number)), 202)


def _letter_view(letter: DeadLetter) -> LetterView:
    return LetterView(
        id=letter.id,
        job_id=letter.job_id,
        code=letter.code,
        reason=letter.reason,
        attempts=letter.tries,
        at=rfc3339(letter.at),
        size_bytes=len(letter.raw),
        sha256=hashlib.sha256(letter.raw).hexdigest(),
    )


def _callback_view(row: DeadCallback) -> DeadCallbackView:
    return DeadCallbackView(
        id=row.id,
        job_id=row.job_id,
        status=row.status,
        reason=row.reason,
        attempts=row.tries,
        created_at=rfc3339(row.created_at),
        at=rfc3339(row.at),
        size_bytes=len(row.body),
        sha256=hashlib.sha256(row.body).hexdigest(),
    )
