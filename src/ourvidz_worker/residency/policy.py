"""The policy: from the ledger and what is free to the next move. Pure; decides, never acts.

The table of the contract (9): the image worker is always loaded and leaves last, the chat worker
is loaded when possible and leaves first, the video worker comes when asked and leaves when idle.
What is busy or pinned leaves by force alone.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import GIB, Pressure, Residence, Why
from ourvidz_worker.residency.ledger import Entry

SAFETY_BYTES = 2 * GIB
"""Kept free beside every load (M-2)."""

#: `available` below this many bytes is that pressure (M-3); above all of them it is low.
LEVELS: tuple[tuple[int, Pressure], ...] = (
    (5 * GIB, Pressure.CRITICAL),
    (10 * GIB, Pressure.HIGH),
    (15 * GIB, Pressure.MEDIUM),
)

#: Who makes room first.
EVICTION_ORDER = (Lane.CHAT, Lane.VIDEO, Lane.IMAGE)

LAST = Lane.IMAGE
"""The last resort."""

#: Who comes back by itself, the highest claim first; the other worker comes when asked.
STANDING = (Lane.IMAGE, Lane.CHAT)
CLAIMS = (*STANDING, Lane.VIDEO)

#: Whose waiting work is looked at first: who waits before a screen, then as workers start.
DEMAND_ORDER = (Lane.CHAT, Lane.IMAGE, Lane.VIDEO)

POLICY_NAMES: Mapping[Lane, str] = MappingProxyType(
    {
        Lane.IMAGE: "always loaded, evicted as a last resort and reloaded afterwards",
        Lane.CHAT: "loaded when possible, evicted first when idle",
        Lane.VIDEO: "loaded on demand, evicted when idle and another needs room",
    }
)

STARVED_S = 60.0
"""Work that has waited this long for its worker may send away one that has work of its own; as
long as an unload waits for running users (2.4).
"""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How room can be made: whom to evict, in order, and whether it is then enough."""

    evict: tuple[Lane, ...] = ()
    enough: bool = True


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The next thing to do: evict some, then load one. `patient` waits for users to finish."""

    load: Lane
    why: Why
    evict: tuple[Lane, ...] = ()
    patient: bool = False


def available_of(free_bytes: int) -> int:
    """Free memory less the safety margin; not below 0."""
    return max(0, free_bytes - SAFETY_BYTES)


def pressure_of(free_bytes: int) -> Pressure:
    """The level that goes with that much free memory (M-3)."""
    available = available_of(free_bytes)
    return next((level for bound, level in LEVELS if available < bound), Pressure.LOW)


def plan_room(
    entries: Sequence[Entry],
    free_bytes: int,
    lane: Lane | None,
    need_bytes: int,
    *,
    force: bool = False,
    spare: frozenset[Lane] = frozenset(),
) -> Plan:
    """Whom to evict so that `need_bytes` fit; nobody when even that would not be enough.

    `lane` is the one that needs the room; `spare` are those that must stay. With `force` what is
    busy or pinned goes too.
    """
    others = [entry for entry in entries if entry.lane is not lane]
    pending = sum(entry.pending_bytes for entry in others)
    room = free_bytes - SAFETY_BYTES - pending
    evicted: list[Lane] = []
    for entry in sorted(others, key=lambda entry: EVICTION_ORDER.index(entry.lane)):
        if room >= need_bytes:
            break
        if entry.lane not in spare and may_leave(entry, force=force):
            evicted.append(entry.lane)
            room += entry.need_bytes
    if room < need_bytes:
        return Plan(enough=False)
    return Plan(evict=tuple(evicted))


def may_leave(entry: Entry, *, force: bool = False) -> bool:
    """True when a worker holds memory, or is about to take it again, and may give it up."""
    if entry.residence not in {Residence.LOADED, Residence.BROKEN}:
        return False
    return force or not (entry.busy or entry.pinned)


def spared_for(wanted: Entry, entries: Sequence[Entry]) -> frozenset[Lane]:
    """Who does not make room for that worker although idle: those with waiting work of their own.

    A caller who waits comes before them: work that waits for an idle worker is still prepared,
    and it may be this very caller that it waits for (an extended prompt, W-3).
    """
    if wanted.summoned:
        return frozenset()
    return frozenset(entry.lane for entry in entries if entry.waiting)


def next_step(entries: Sequence[Entry], free_bytes: int) -> Step | None:
    """What to do now: serve demand, else bring back who belongs here, else foresee; or nothing."""
    absent = {entry.lane: entry for entry in entries if entry.residence is Residence.UNLOADED}
    for choose in (_for_demand, _for_standing, _for_forecast):
        step = choose(entries, absent, free_bytes)
        if step is not None:
            return step
    return None


def foresee(entries: Sequence[Entry], free_bytes: int, only: Lane | None = None) -> Step | None:
    """The absent worker with most work to come, if it fits into free room (M-6)."""
    if pressure_of(free_bytes) not in {Pressure.LOW, Pressure.MEDIUM}:
        return None
    absent = [entry for entry in entries if entry.residence is Residence.UNLOADED]
    likely = [
        entry
        for entry in absent
        if entry.lane is only or (only is None and entry.expected > 0 and not entry.released)
    ]
    for entry in sorted(likely, key=lambda entry: -entry.expected):
        plan = plan_room(entries, free_bytes, entry.lane, entry.need_bytes)
        if plan.enough and not plan.evict:
            return Step(load=entry.lane, why=Why.PREDICTED)
    return None


def _for_demand(
    entries: Sequence[Entry], absent: Mapping[Lane, Entry], free_bytes: int
) -> Step | None:
    """Work waits: who has no work makes room; after a while, who has some does too."""
    for lane in DEMAND_ORDER:
        entry = absent.get(lane)
        if entry is None or not entry.waiting:
            continue
        spare = spared_for(entry, entries)
        plan = plan_room(entries, free_bytes, lane, entry.need_bytes, spare=spare)
        if plan.enough and LAST in plan.evict and _pays_to_wait(entry, entries, free_bytes):
            continue
        if plan.enough:
            return Step(load=lane, why=Why.DEMAND, evict=plan.evict)
        if entry.waiting_s < STARVED_S:
            continue
        pinned = frozenset(entry.lane for entry in entries if entry.pinned)
        plan = plan_room(entries, free_bytes, lane, entry.need_bytes, force=True, spare=pinned)
        if plan.enough:
            return Step(load=lane, why=Why.DEMAND, evict=plan.evict, patient=True)
    return None


def _pays_to_wait(wanted: Entry, entries: Sequence[Entry], free_bytes: int) -> bool:
    """True while the last resort can be spared by waiting for the others' users: at most as long
    as both loads take, which is what changing places with it costs.
    """
    (last,) = (entry for entry in entries if entry.lane is LAST)
    if wanted.waiting_s >= (last.load_s or 0.0) + (wanted.load_s or 0.0):
        return False
    spare = frozenset({LAST, *(entry.lane for entry in entries if entry.pinned)})
    return plan_room(
        entries, free_bytes, wanted.lane, wanted.need_bytes, force=True, spare=spare
    ).enough


def _for_standing(
    entries: Sequence[Entry], absent: Mapping[Lane, Entry], free_bytes: int
) -> Step | None:
    """Who belongs here comes back, into free room or in the place of an idle lesser claim."""
    for lane in STANDING:
        entry = absent.get(lane)
        if entry is None or entry.released:
            continue
        staying = frozenset(other.lane for other in entries if not _has_stayed(other, entry))
        plan = plan_room(entries, free_bytes, lane, entry.need_bytes, spare=staying)
        if plan.enough:
            return Step(load=lane, why=Why.RESTORED, evict=plan.evict)
    return None


def _has_stayed(visitor: Entry, owner: Entry) -> bool:
    """True when a worker of a lesser claim has been idle for as long as both loads take, and
    expects nothing: changing places then costs at most as much as was idled away.
    """
    if CLAIMS.index(visitor.lane) <= CLAIMS.index(owner.lane) or visitor.expected >= 1:
        return False
    return visitor.idle_s >= (visitor.load_s or 0.0) + (owner.load_s or 0.0)


def _for_forecast(
    entries: Sequence[Entry], absent: Mapping[Lane, Entry], free_bytes: int
) -> Step | None:
    """Bring in who is expected."""
    return foresee(entries, free_bytes) if absent else None
