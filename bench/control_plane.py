"""The control plane beside its peers: how soon an idle worker begins, how many jobs a second.

Usage: python -m bench.control_plane [--jobs 1000] [--spaced 20] [--passes 2] [--only NAME ...]

Every system gets the same load on this machine in this run, one after another and in turns: jobs
that waited before the worker started are drained, then single jobs are handed in to the idle
worker. Bodies do nothing. The better pass of each system counts. Peers run on a Redis server of
the bench's own in three settings of durability; ours runs on its embedded queue, which is on disk
before a submit returns and before a settle counts.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bench.load import Measured
from bench.ours import measure_in_process, measure_pod, measure_queue
from bench.peers import CONCURRENCY, OURS, PEERS
from bench.record import figure, percentile, write
from bench.redis_server import Durability, redis_server, server_version
from bench.theirs import measure_peer

GAP_S = 0.25
DURABILITIES: tuple[Durability, ...] = get_args(Durability)
DISTRIBUTIONS = ("saq", "celery", "taskiq", "taskiq-redis", "redis")

NOTES = (
    f"Bodies do nothing; up to {CONCURRENCY} at once in one worker process of each system.",
    "A peer's name says the Redis setting: none (no append-only file), everysec or always.",
    "Ours is durable as `always` is: a submit and a settle have been synced to disk when they "
    "return (several at once share one sync). It also keeps a receipt, events and the result.",
    "settled_per_s: jobs that waited before the start, over first beginning to last settlement; "
    "ours through pod, pipe and worker process; peers through their worker process.",
    "Where ours settles fewer than SAQ and Celery: a peer's body is a call inside the process that "
    "took the job, and its settlement one write. Ours crosses to another process that may die "
    "alone, has a folder of its own, and makes five short commits one after another (lease, start, "
    "begun, settle, ended): about 1.7 ms of the pod's CPU a job, far below any model's time.",
    "queue_cycles_per_s: ours without a worker: lease, start and settle.",
    "submit_to_start: from the call of the client's submit to the beginning of the body in the "
    "worker process, jobs 0.25 s apart on an idle worker; ours over HTTP. "
    "submit_to_start_in_process_*: the same without a socket, the pod's parts in one process.",
)


def main(arguments: Sequence[str]) -> int:
    """Measure and write the record; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000, help="jobs drained in each pass")
    parser.add_argument("--spaced", type=int, default=20, help="single jobs in each pass")
    parser.add_argument("--passes", type=int, default=2)
    peers = [name for name in PEERS if name != OURS]
    parser.add_argument("--only", nargs="*", choices=peers, default=peers)
    chosen = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    asyncio.run(run(chosen))
    return 0


async def run(chosen: argparse.Namespace) -> None:
    """Every system in turns, pass after pass; the better pass counts."""
    found: dict[str, list[Measured]] = {}
    in_process: list[list[float]] = []
    cycles: list[float] = []
    for number in range(chosen.passes):
        for name, measured in await one_pass(chosen):
            found.setdefault(name, []).append(measured)
        with tempfile.TemporaryDirectory() as folder:
            in_process.append(await measure_in_process(Path(folder), chosen.spaced, GAP_S))
        with tempfile.TemporaryDirectory() as folder:
            cycles.append(await measure_queue(Path(folder), chosen.jobs))
        print(f"pass {number + 1}: queue alone {cycles[-1]:.0f} jobs/s", flush=True)
    file = record(chosen, found, in_process, max(cycles))
    print(file.read_text(encoding="utf-8"))


async def one_pass(chosen: argparse.Namespace) -> list[tuple[str, Measured]]:
    """Each system once, ours first."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        measured = await measure_pod(Path(folder), chosen.jobs, chosen.spaced, GAP_S)
        results.append((OURS, told(OURS, measured)))
    for durability in DURABILITIES:
        for name in chosen.only:
            with redis_server(durability) as url, tempfile.TemporaryDirectory() as folder:
                measured = await measure_peer(
                    name,
                    url,
                    Path(folder),
                    jobs=chosen.jobs,
                    spaced=chosen.spaced,
                    gap_s=GAP_S,
                )
            label = f"{name} ({durability})"
            results.append((label, told(label, measured)))
    return results


def record(
    chosen: argparse.Namespace,
    found: dict[str, list[Measured]],
    in_process: list[list[float]],
    cycles: float,
) -> Path:
    """Write the figures with every peer's value and ratio."""
    ours = found.pop(OURS)
    rates = {name: best_rate(passes) for name, passes in found.items()}
    figures = {
        "settled_per_s": figure(best_rate(ours), "jobs/s", chosen.jobs, rates),
        "queue_cycles_per_s": figure(cycles, "jobs/s", chosen.jobs),
    }
    for percent in (50, 95):
        peers = {name: best_latency(passes, percent) for name, passes in found.items()}
        figures[f"submit_to_start_p{percent}_ms"] = figure(
            best_latency(ours, percent), "ms", chosen.spaced, peers
        )
        inside = min(percentile(samples, percent) for samples in in_process) * 1000
        figures[f"submit_to_start_in_process_p{percent}_ms"] = figure(inside, "ms", chosen.spaced)
    return write(
        "control_plane",
        figures,
        DISTRIBUTIONS,
        NOTES,
        extra_versions={"redis-server": server_version()},
    )


def best_rate(passes: Sequence[Measured]) -> float:
    """Jobs a second in the better pass."""
    return max(measured.per_s for measured in passes)


def best_latency(passes: Sequence[Measured], percent: int) -> float:
    """Milliseconds at that percentile in the better pass."""
    return min(percentile(measured.latencies_s, percent) for measured in passes) * 1000


def told(name: str, measured: Measured) -> Measured:
    """Print one row as it is measured, with the calibration beside it."""
    middle, late = (percentile(measured.latencies_s, percent) * 1000 for percent in (50, 95))
    print(
        f"{name:18} {measured.per_s:7.0f} jobs/s   start p50 {middle:7.1f} p95 {late:7.1f} ms"
        f"   calibration {measured.calibration_s:.2f} s",
        flush=True,
    )
    return measured


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
