"""What every reply and chunk of one call carries alike."""

import hashlib

import msgspec

from ourvidz_worker.api.call import Call
from ourvidz_worker.domain.lane import Lane

_PARTS = ("engine", "model", "device")
_DIGITS = 12


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """`created` in seconds since the epoch; with another fingerprint a seed need not repeat."""

    request_id: str
    created: int
    fingerprint: str | None


def stamp_of(call: Call) -> Stamp:
    """The stamp of a call; its fingerprint is of our version, engine, model and device."""
    worker = call.site.pod.health("chat").workers.get(Lane.CHAT, {})
    told = [str(worker[part]) for part in _PARTS if worker.get(part)]
    words = "\0".join([call.site.settings.version, *told])
    digest = hashlib.sha256(words.encode()).hexdigest()[:_DIGITS]
    return Stamp(
        request_id=call.request_id,
        created=int(call.site.clock.now()),
        fingerprint=f"fp_{digest}" if told else None,
    )
