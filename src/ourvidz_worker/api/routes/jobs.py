"""The native job interface: hand in, look at, watch and cancel jobs; every call needs a key."""

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from ourvidz_worker.api.bodies import decode_query, read_object
from ourvidz_worker.api.call import Call
from ourvidz_worker.api.patience import closing
from ourvidz_worker.api.sse import EventStream, frame
from ourvidz_worker.api.views import (
    CANCEL_STATUS,
    FOUND_IN,
    Accepted,
    PublicStatus,
    job_list,
    job_view,
    public_status,
)
from ourvidz_worker.domain.errors import Conflict, NotFound, RequestError
from ourvidz_worker.domain.ids import ID_RULE, is_id
from ourvidz_worker.domain.job import Status
from ourvidz_worker.queue import JobRecord

MOST_JOBS = 200
"""The longest list; far more jobs than are ever leased at once."""

MOST_DIGITS = 18
"""Digits of an event number: more would not fit the queue's 64-bit integers."""


class JobBody(msgspec.Struct, frozen=True, kw_only=True):
    """A job object of the contract (3.3 to 3.6); aliases and further keys are tolerated.

    `config` and `metadata` hold what the type takes, such as `config.steps` or `config.seed`.
    """

    type: Annotated[str, Meta(description="one of the fourteen job types")]
    user_id: Annotated[str, Meta(description="whose job it is; the same rule as the id")]
    id: Annotated[str, Meta(description=f"drawn when absent; {ID_RULE}")] | None = None
    prompt: Annotated[str, Meta(description="used byte for byte")] | None = None
    negative_prompt: str | None = None
    config: dict[str, msgspec.Raw] | None = None
    metadata: dict[str, msgspec.Raw] | None = None


class JobsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to list."""

    status: (
        Annotated[
            PublicStatus, Meta(description="queued, processing, completed, failed or cancelled")
        ]
        | None
    ) = None
    user_id: Annotated[str, Meta(description="whose jobs")] | None = None
    limit: Annotated[
        int, Meta(ge=1, le=MOST_JOBS, description=f"a whole number from 1 to {MOST_JOBS}")
    ] = 50


async def create(call: Call) -> Response:
    """Hand in a job; the same object handed in again is the same job."""
    body = await read_object(call.request, call.site.clock)
    record, _ = await call.site.jobs.submit(body.raw)
    return _accepted(call, record, 202)


async def put(call: Call) -> Response:
    """Hand in a job under an id of the caller's: asked twice, it is one job."""
    job_id = call.name("job_id")
    if not is_id(job_id):
        raise RequestError(f"The id must be {ID_RULE}.", field="id")
    body = await read_object(call.request, call.site.clock)
    record, is_new = await call.site.jobs.submit(body.raw, job_id=job_id)
    return _accepted(call, record, 202 if is_new else 200)


async def listing(call: Call) -> Response:
    """List the newest jobs."""
    query = decode_query(call.request.query_params, JobsQuery)
    if query.user_id is not None and not is_id(query.user_id):
        raise RequestError(f"The user_id must be {ID_RULE}.", field="user_id")
    records: list[JobRecord] = []
    for status in FOUND_IN[query.status] if query.status else (None,):
        limit = MOST_JOBS if status is Status.LEASED else query.limit
        records += await call.site.jobs.recent(status=status, user_id=query.user_id, limit=limit)
    return call.reply(job_list(records, query.status, query.limit))


async def show(call: Call) -> Response:
    """Tell all of one job."""
    return call.reply(job_view(await find(call)))


async def cancel(call: Call) -> Response:
    """Cancel a job: at once while it waits, at its next step while it runs."""
    record = await find(call)
    outcome = await call.site.jobs.cancel(record.job.id)
    if outcome == "unknown":
        raise NotFound
    if outcome == "terminal":
        raise Conflict("The job has ended; there is nothing left to cancel.")
    return call.reply(Accepted(job_id=record.job.id, status=CANCEL_STATUS[outcome]), 202)


async def events(call: Call) -> EventStream:
    """Watch a job: each event as `id: number`, `event: kind`, `data: JSON`, up to the last one.

    `Last-Event-ID` continues after that number. Leaving ends the watching alone.
    """
    record = await find(call)
    frames = _frames(call, record.job.id, _last_seen(call))
    return EventStream(frames, call.site.clock, request_id=call.request_id, eager=True)


async def find(call: Call) -> JobRecord:
    """The job that the path names. Raises `NotFound`."""
    job_id = call.name("job_id")
    if not is_id(job_id):
        raise NotFound
    return await call.site.jobs.find(job_id)


async def _frames(call: Call, job_id: str, after: int) -> AsyncIterator[bytes]:
    async with closing(call.site.jobs.watch(job_id, after=after)) as found:
        async for event in found:
            yield frame(event.kind.value, msgspec.json.encode(event.data), number=event.seq)


def _last_seen(call: Call) -> int:
    header = call.request.headers.get("last-event-id", "") or "0"
    if not (header.isascii() and header.isdecimal() and len(header) <= MOST_DIGITS):
        raise RequestError("Last-Event-ID must be a whole number from 0.", field="Last-Event-ID")
    return int(header)


def _accepted(call: Call, record: JobRecord, status: int) -> Response:
    body = Accepted(job_id=record.job.id, status=public_status(record))
    return call.reply(body, status, {"Location": f"/v1/jobs/{record.job.id}"})
