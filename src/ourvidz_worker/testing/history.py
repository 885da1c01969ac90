"""The history checker: what independent witnesses saw of many jobs, judged against the promises.

The producer writes what it pushed, the application's side what it stored and was told, the killer
what it killed; no witness is part of the system that is judged. `judge` reads their lines and says
what was lost, doubled or out of order, and how long jobs took to recover from a kill.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec


class Kind(StrEnum):
    """What a witness saw."""

    PUSHED = "pushed"
    STORED = "stored"
    TOLD = "told"
    FAULT = "fault"


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a witness; `at` is wall-clock seconds.

    `key` is a storage key (`stored`) or what was killed (`fault`); `status`, `assets` (storage
    keys) and `digest` (of the exact body) belong to `told`, which is written when the caller has
    accepted the callback.
    """

    at: float
    kind: Kind
    job: str = ""
    status: str = ""
    key: str = ""
    digest: str = ""
    assets: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the history comes to; every tuple names jobs.

    `lost`: pushed, and no end was told. `doubled`: two ends that differ. `out_of_order`: something
    followed the end, or a status came twice that is no repetition. `unbacked`: completed with an
    asset that had not been stored before. `told_twice`: the same bytes again after the end, which
    a kill between an answer and its record makes unavoidable. `recovery_s`: from the last kill
    before a job's end to that end, the longest among the jobs that a kill found begun.
    """

    jobs: int
    kills: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    out_of_order: tuple[str, ...]
    unbacked: tuple[str, ...]
    told_twice: tuple[str, ...]
    recovery_s: float

    @property
    def holds(self) -> bool:
        """True when every promise was kept."""
        return not (self.lost or self.doubled or self.out_of_order or self.unbacked)


ENDS = frozenset({"completed", "failed"})


class Witness:
    """Appends lines to a file that several processes may share: one write each, never mixed."""

    def __init__(self, file: Path) -> None:
        """The file is made with the first line."""
        self._file = file

    def note(self, seen: Seen) -> None:
        """Write one line."""
        line = msgspec.json.encode(seen) + b"\n"
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def read_history(file: Path) -> list[Seen]:
    """Every whole line, in order of time."""
    if not file.exists():
        return []
    lines = file.read_bytes().split(b"\n")[:-1]
    return sorted((msgspec.json.decode(line, type=Seen) for line in lines), key=lambda one: one.at)


def judge(history: Iterable[Seen]) -> Verdict:
    """The verdict on a history that has come to rest."""
    ordered = sorted(history, key=lambda one: one.at)
    pushed = dict.fromkeys(one.job for one in ordered if one.kind is Kind.PUSHED)
    told: dict[str, list[Seen]] = defaultdict(list)
    for one in ordered:
        if one.kind is Kind.TOLD:
            told[one.job].append(one)
    kills = [one.at for one in ordered if one.kind is Kind.FAULT]
    stored = {one.key: one.at for one in reversed(ordered) if one.kind is Kind.STORED}
    return Verdict(
        jobs=len(pushed),
        kills=len(kills),
        lost=tuple(job for job in pushed if _end_of(told[job]) is None),
        doubled=tuple(job for job in pushed if _is_doubled(told[job])),
        out_of_order=tuple(job for job in pushed if _is_out_of_order(told[job])),
        unbacked=tuple(job for job in pushed if not _is_backed(told[job], stored)),
        told_twice=tuple(job for job in pushed if _is_told_twice(told[job])),
        recovery_s=max((_recovery_s(told[job], kills) for job in pushed), default=0.0),
    )


def _end_of(told: Sequence[Seen]) -> Seen | None:
    return next((one for one in told if one.status in ENDS), None)


def _is_doubled(told: Sequence[Seen]) -> bool:
    """Two ends that say different things; the same bytes again are one end."""
    return len({one.digest for one in told if one.status in ENDS}) > 1


def _is_out_of_order(told: Sequence[Seen]) -> bool:
    end = _end_of(told)
    if end is None:
        return False
    after = told[told.index(end) + 1 :]
    return any(one.status not in ENDS for one in after)


def _is_told_twice(told: Sequence[Seen]) -> bool:
    ends = [one.digest for one in told if one.status in ENDS]
    return len(ends) > len(set(ends))


def _is_backed(told: Sequence[Seen], stored: Mapping[str, float]) -> bool:
    """Every asset of a completed job had been stored before it was told."""
    end = _end_of(told)
    if end is None or end.status != "completed":
        return True
    return all(stored.get(key, end.at) < end.at for key in end.assets)


def _recovery_s(told: Sequence[Seen], kills: Sequence[float]) -> float:
    """How long the job took to end after the last kill that found it begun; 0 without one."""
    end = _end_of(told)
    if end is None or not told:
        return 0.0
    during = [at for at in kills if told[0].at <= at < end.at]
    return end.at - during[-1] if during else 0.0
