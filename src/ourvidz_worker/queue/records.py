"""What the scripts keep of a job as the port's values, and back."""

from collections.abc import Sequence

import msgspec

from ourvidz_worker.domain.artifact import Asset, Facts, Metadata
from ourvidz_worker.domain.event import EventKind, JobEvent
from ourvidz_worker.domain.job import Job, Status
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.queue.base import JobRecord, Settlement

Kept = dict[bytes, bytes]
"""The fields of one job as they lie in Redis."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """What a settlement leaves in a job's record."""

    assets: tuple[Asset, ...] = ()
    receipt: Receipt | None = None
    code: str | None = None
    sentence: str | None = None
    facts: Facts = {}


_END = msgspec.json.Decoder(End)
_EVENT = msgspec.json.Decoder(tuple[EventKind, float, Metadata])


def to_kept(flat: Sequence[bytes]) -> Kept:
    """The fields of a reply that names and values follow each other in."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def to_job(kept: Kept) -> Job:
    """The job of a record."""
    return Job(
        id=kept[b"id"].decode(),
        type=kept[b"type"].decode(),
        user_id=kept[b"user_id"].decode(),
        lane=Lane(kept[b"lane"].decode()),
        priority=PriorityClass(int(kept[b"class"])),
        payload=kept[b"payload"],
        submitted_at=float(kept[b"submitted_at"]),
        arrival_known=b"pushed" not in kept,
        readable=kept.get(b"readable", b"1") == b"1",
    )


def to_record(kept: Kept) -> JobRecord:
    """All of a job; what an end holds is empty before it."""
    end = _END.decode(kept[b"end"]) if b"end" in kept else End()
    return JobRecord(
        job=to_job(kept),
        status=Status(kept[b"status"].decode()),
        tries=int(kept[b"tries"]),
        seed=int(kept[b"seed"]) if b"seed" in kept else None,
        started_at=float(kept[b"started_at"]) if b"started_at" in kept else None,
        settled_at=float(kept[b"settled_at"]) if b"settled_at" in kept else None,
        cancel_requested=b"cancel" in kept,
        assets=end.assets,
        receipt=end.receipt,
        code=end.code,
        sentence=end.sentence,
        facts=end.facts,
    )


def write_end(end: Settlement) -> bytes:
    """What a settlement leaves in the record, as JSON."""
    return msgspec.json.encode(
        End(
            assets=end.assets,
            receipt=end.receipt,
            code=end.code,
            sentence=end.sentence,
            facts=end.facts,
        )
    )


def write_event(kind: EventKind, at: float, data: Metadata) -> bytes:
    """An event without its number, which the script gives."""
    return msgspec.json.encode((kind, at, data))


def to_event(job_id: str, kept: bytes) -> JobEvent:
    """An event, number and JSON parted by a space."""
    number, _, text = kept.partition(b" ")
    kind, at, data = _EVENT.decode(text)
    return JobEvent(job_id=job_id, seq=int(number), kind=kind, at=at, data=data)
