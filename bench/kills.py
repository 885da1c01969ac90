"""A worker of some job system is killed in the middle of its work: what is missing afterwards?"""

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench import witness
from bench.peers import PEERS, make_producer
from bench.theirs import ROOT, stop

LOOK_EVERY_S = 0.05
BODY_S = 0.2
KILL_AFTER = 30
"""Bodies that have ended when the worker is killed."""


@dataclass(frozen=True, kw_only=True)
class Killed:
    """One trial: jobs never done, jobs whose body ended twice, and the time until the last."""

    missing: int
    repeated: int
    recovered_s: float


async def kill_trial(name: str, url: str, folder: Path, *, jobs: int, patience_s: float) -> Killed:
    """Enqueue, kill the worker's group with SIGKILL, start another one, and wait for the rest."""
    records = folder / "witness"
    producer = make_producer(name, url)
    await producer.open()
    for number in range(jobs):
        await producer.enqueue(number)
    process = await _worker(name, url, records)
    await _ended(records, KILL_AFTER, patience_s)
    os.killpg(process.pid, signal.SIGKILL)
    killed_at = time.time()
    await process.wait()
    process = await _worker(name, url, records)
    try:
        await _ended(records, jobs, patience_s)
    finally:
        await stop(process)
        await producer.close()
    ends = witness.read(records, witness.END)
    last = max(ends.values())
    return Killed(
        missing=jobs - len(ends),
        repeated=witness.total(records, witness.END) - len(ends),
        recovered_s=max(0.0, last - killed_at),
    )


async def _worker(name: str, url: str, records: Path) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", PEERS[name], url, str(records), str(BODY_S)]
    with records.with_suffix(".log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, cwd=ROOT, start_new_session=True
        )


async def _ended(records: Path, jobs: int, patience_s: float) -> None:
    """Return when that many different bodies have ended, or when patience has."""
    deadline = time.perf_counter() + patience_s
    while time.perf_counter() < deadline:
        if witness.distinct(records, witness.END) >= jobs:
            return
        await asyncio.sleep(LOOK_EVERY_S)
