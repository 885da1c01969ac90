"""Independent records of when a job's body began and ended, shared by several processes.

Each record has one size and is appended by one write, so that records of different processes
never mix. The clock is the wall clock: enqueuing and running happen in different processes.
"""

import os
import struct
import time
from pathlib import Path

RECORD = struct.Struct("<cqd")
BEGIN, END = b"b", b"e"


def note(path: str, kind: bytes, number: int) -> None:
    """Job `number` begins or ends now."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, RECORD.pack(kind, number, time.time()))
    finally:
        os.close(file)


def count(path: Path) -> int:
    """How many records there are."""
    return path.stat().st_size // RECORD.size if path.exists() else 0


def read(path: Path, kind: bytes) -> dict[int, float]:
    """Job number to the time of its first record of that kind."""
    times: dict[int, float] = {}
    for found, number, at in RECORD.iter_unpack(path.read_bytes()):
        if found == kind:
            times.setdefault(number, at)
    return times


def distinct(path: Path, kind: bytes) -> int:
    """How many different jobs have a record of that kind."""
    return len(read(path, kind)) if path.exists() else 0


def total(path: Path, kind: bytes) -> int:
    """How many records of that kind there are, repetitions counted."""
    return sum(found == kind for found, _, _ in RECORD.iter_unpack(path.read_bytes()))
