"""A peer's side of the control-plane bench: its own worker process on a Redis of the bench's."""

import asyncio
import sys
import time
from pathlib import Path

from bench import witness
from bench.load import Measured, calibrate, send_spaced
from bench.peers import PEERS, make_producer

DRAIN_S = 300.0
STOP_S = 15.0
LOOK_EVERY_S = 0.05
ROOT = Path(__file__).resolve().parent.parent


async def measure_peer(
    name: str, url: str, folder: Path, *, jobs: int, spaced: int, gap_s: float
) -> Measured:
    """Drain `jobs` that waited before the worker started, then time `spaced` when it is idle."""
    records = folder / "witness"
    calibration_s = calibrate()
    producer = make_producer(name, url)
    await producer.open()
    for number in range(jobs):
        await producer.enqueue(number)
    command = [sys.executable, "-m", PEERS[name], url, str(records), "0"]
    with (folder / "worker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, cwd=ROOT)
    try:
        await ended(records, jobs)
        sent = await send_spaced(lambda number: producer.enqueue(jobs + number), spaced, gap_s)
        await ended(records, jobs + spaced)
    finally:
        await stop(process)
        await producer.close()
    begins = witness.read(records, witness.BEGIN)
    ends = witness.read(records, witness.END)
    drained = [ends[number] for number in range(jobs)]
    return Measured(
        per_s=(jobs - 1) / (max(drained) - min(begins.values())),
        latencies_s=[begins[jobs + number] - at for number, at in enumerate(sent)],
        calibration_s=calibration_s,
    )


async def ended(records: Path, jobs: int) -> None:
    """Return when that many bodies have ended."""
    deadline = time.perf_counter() + DRAIN_S
    while witness.count(records) < 2 * jobs:
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{jobs} jobs were not done in {DRAIN_S} s")
        await asyncio.sleep(LOOK_EVERY_S)


async def stop(process: asyncio.subprocess.Process) -> None:
    """End the worker that was started here, by force if it takes too long."""
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
