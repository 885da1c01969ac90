"""The queue over the application's Redis lists beside SAQ, taskiq and Celery, in one run.

Usage: python -m bench.queue_redis [--jobs 2000] [--spaced 50] [--passes 2] [--only NAME ...]

Every system gets the same load on this machine, one after another and in turns, on a Redis server
of the bench's own that appends to a file every second: jobs that waited before the worker started
are drained, then single jobs are handed in to the idle worker; then a worker is killed with
SIGKILL in the middle of a hundred jobs of 0.2 s and another one is started. Ours takes its jobs
from a plain list, pushed as the application pushes them; its worker leases, starts and settles.
Each peer has the settings with which it recovers the most. A peer that finished every job after
the kill counts as lossless.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.control_plane import best_latency, best_rate, told
from bench.kills import Killed, kill_trial
from bench.load import Measured
from bench.peers import CONCURRENCY, OURS, PEERS
from bench.record import Figure, figure, write
from bench.redis_server import Durability, redis_server, server_version
from bench.theirs import measure_peer

GAP_S = 0.05
KILL_JOBS = 100
PATIENCE_S = 100.0
DURABILITY: Durability = "everysec"
DISTRIBUTIONS = ("saq", "celery", "taskiq", "taskiq-redis", "redis")

NOTES = (
    f"Bodies do nothing; up to {CONCURRENCY} at once in one worker process of each system.",
    "Ours: elements of 0.5 kB as the application's client of 2026 pushes them, leased, decoded, "
    "started and settled with a record of each job that any pod can read; no callbacks.",
    "settled_per_s: jobs that waited before the start, over first beginning to last end of a body.",
    "dispatch: from the call that hands a job in to the beginning of its body, on an idle worker.",
    f"missing_after_kill: of {KILL_JOBS} jobs of 0.2 s, never done within {PATIENCE_S:.0f} s after "
    "a SIGKILL of the worker's process group at 30 done; one trial a pass, the worst counts.",
    "repeated_after_kill: bodies that ended more than once, likewise.",
    "recovered_s: from the kill to the end of the last body, the longest of the passes; our lease "
    "is 15 s here.",
)


def main(arguments: Sequence[str]) -> int:
    """Measure and write the record; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2000, help="jobs drained in each pass")
    parser.add_argument("--spaced", type=int, default=50, help="single jobs in each pass")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=PEERS, default=list(PEERS))
    chosen = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    asyncio.run(run(chosen))
    return 0


async def run(chosen: argparse.Namespace) -> None:
    """Every system in turns, pass after pass; the better pass and the worst kill count."""
    found: dict[str, list[Measured]] = {name: [] for name in chosen.only}
    kills: dict[str, list[Killed]] = {name: [] for name in chosen.only}
    for _ in range(chosen.passes):
        for name in chosen.only:
            found[name].append(told(name, await drained(name, chosen)))
            kills[name].append(await killed(name))
            print(f"{name:18} {kills[name][-1]}", flush=True)
    figures = figures_of(chosen, found, kills)
    file = write(
        "queue_redis",
        figures,
        DISTRIBUTIONS,
        (*NOTES, lossless_note(kills)),
        extra_versions={"redis-server": server_version()},
    )
    print(file.read_text(encoding="utf-8"))


async def drained(name: str, chosen: argparse.Namespace) -> Measured:
    """The load without faults, on a new server."""
    with redis_server(DURABILITY) as url, tempfile.TemporaryDirectory() as folder:
        return await measure_peer(
            name, url, Path(folder), jobs=chosen.jobs, spaced=chosen.spaced, gap_s=GAP_S
        )


async def killed(name: str) -> Killed:
    """The kill, on a new server."""
    with redis_server(DURABILITY) as url, tempfile.TemporaryDirectory() as folder:
        return await kill_trial(name, url, Path(folder), jobs=KILL_JOBS, patience_s=PATIENCE_S)


def figures_of(
    chosen: argparse.Namespace,
    found: dict[str, list[Measured]],
    kills: dict[str, list[Killed]],
) -> dict[str, Figure]:
    """Ours with every peer's value and ratio."""
    peers = [name for name in found if name != OURS]

    def beside(of: "dict[str, float]", unit: str, count: int) -> Figure:
        return figure(of[OURS], unit, count, {name: of[name] for name in peers})

    rates = {name: best_rate(passes) for name, passes in found.items()}
    figures = {"settled_per_s": beside(rates, "jobs/s", chosen.jobs)}
    for percent in (50, 95):
        latencies = {name: best_latency(passes, percent) for name, passes in found.items()}
        figures[f"dispatch_p{percent}_ms"] = beside(latencies, "ms", chosen.spaced)
    worst = {name: max(trial.recovered_s for trial in trials) for name, trials in kills.items()}
    figures["recovered_s"] = beside(worst, "s", chosen.passes)
    for name, trials in kills.items():
        missing, repeated = max(t.missing for t in trials), max(t.repeated for t in trials)
        figures[f"missing_after_kill_{name}"] = figure(missing, "jobs", KILL_JOBS)
        figures[f"repeated_after_kill_{name}"] = figure(repeated, "jobs", KILL_JOBS)
    return figures


def lossless_note(kills: dict[str, list[Killed]]) -> str:
    """Which systems finished every job after the kill."""
    names = [name for name, trials in kills.items() if not any(t.missing for t in trials)]
    return f"Lossless in this run: {', '.join(names) or 'none'}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
