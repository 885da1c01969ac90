"""Jobs through the application's Redis lists while workers and pods are killed with SIGKILL.

Usage: python -m bench.chaos_redis [--jobs 1000] [--pods 2] [--seed 1] [--pause 1.5]

A real Redis that syncs every write, the application's side over a real PostgreSQL, and pods on
the fake engine, each a process of its own. Jobs of all lanes are pushed as the application pushes
them; meanwhile, at instants that follow from the seed, a worker or a whole pod is killed, and the
pod is started again, sometimes only after its leases have lapsed. What was pushed, stored, told
and killed is written down by the producer, the application and the killer, none of them part of
the system, and judged when everything has come to rest.
"""

import argparse
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import psutil

from bench.record import figure, write
from bench.redis_server import server_version
from ourvidz_worker.testing.deployment import FAKE, Deployment, deployment
from ourvidz_worker.testing.history import Kind, Seen, Verdict, Witness, judge
from ourvidz_worker.testing.pod_process import PodProcess
from ourvidz_worker.testing.supabase.payloads import Payload, Seed, chat, text_to_image, video

LEASE_S = 6.0
GRACE_S = 5.0
"""A job that a kill found begun ends within the lease and this."""

STEP_S = 0.01
PUSH_EVERY_S = 0.1
PATIENCE_S = 300.0
LOOK_EVERY_S = 0.5
POD_SHARE = 0.4
"""Of the kills, so many hit a whole pod; the others one of its workers."""

LATEST_RETURN_S = 1.5 * LEASE_S
RISING_S = 3.0
"""A pod that was just started is spared this long: a kill of what does nothing shows nothing."""

BUCKET = "workspace-temp/"

NOTES = (
    f"Leases of {LEASE_S:.0f} s; the fake engine, {STEP_S * 1000:.0f} ms a step; pods come back "
    f"after 0 to {LATEST_RETURN_S:.0f} s.",
    "lost: pushed and no end told. doubled: two ends that differ, or an asset twice. out_of_order: "
    "something told after the end. unbacked: completed before an asset was stored.",
    "told_twice: the same bytes again, after a kill between the application's answer and its "
    "record; the application takes them as one.",
    f"recovery_max_s: from the last kill before a job's end to that end, the longest among jobs "
    f"that a kill found begun; to be within {LEASE_S + GRACE_S:.0f} s, work and waiting included.",
)


def main(arguments: Sequence[str]) -> int:
    """Run and write the record; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=1.5, help="mean seconds between kills")
    parser.add_argument("--keep", type=Path, help="folder to keep logs and the history in")
    chosen = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    with ExitStack() as stack:
        folder = chosen.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        verdict, doubled_assets = run(chosen, folder)
    file = record(chosen, verdict, doubled_assets)
    print(file.read_text(encoding="utf-8"))
    return 0 if verdict.holds and not doubled_assets else 1


def run(chosen: argparse.Namespace, folder: Path) -> tuple[Verdict, int]:
    """One run, from the first push to rest; and how many assets were there twice."""
    with deployment(folder) as world:
        fleet = Fleet(world, chosen.pods)
        chance = random.Random(chosen.seed)  # noqa: S311 - repeatable, no secret
        killer = Killer(fleet, chance, chosen.pause)
        try:
            fleet.start()
            killer.start()
            pushed = push_all(world, chosen.jobs)
            killer.stop()
            await_rest(world, [seen.job for seen in pushed])
        finally:
            killer.stop()
            fleet.stop()
        history = [*pushed, *killer.seen, *application_saw(world)]
        for seen in history:
            Witness(folder / "history").note(seen)
        return judge(history), doubled_assets(world, [seen.job for seen in pushed])


@dataclass
class Fleet:
    """The pods; one that was killed comes back on its own state."""

    world: Deployment
    size: int
    pods: dict[str, PodProcess] = field(default_factory=dict)
    born: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Start all of them."""
        for number in range(self.size):
            self.start_one(f"pod-{number}")

    def start_one(self, name: str) -> None:
        """Start a pod, for the first time or again."""
        options = json.dumps({"steps_s": STEP_S})
        settings = {**FAKE, "OURVIDZ_FAKE_OPTIONS": options, "LEASE_TTL_S": str(LEASE_S)}
        self.pods[name] = self.world.pod(name, **settings).__enter__()
        self.born[name] = time.monotonic()

    def stop(self) -> None:
        """End all of them."""
        for pod in self.pods.values():
            pod.stop()

    def grown(self) -> list[str]:
        """Pods that have been up for a while."""
        now = time.monotonic()
        return [
            name
            for name, pod in self.pods.items()
            if pod.is_alive() and now - self.born[name] > RISING_S
        ]


class Killer:
    """Kills workers and pods at instants that follow from a seed, and starts pods again."""

    def __init__(self, fleet: Fleet, chance: random.Random, pause_s: float) -> None:
        """Nothing happens before `start`."""
        self.seen: list[Seen] = []
        self._fleet = fleet
        self._chance = chance
        self._pause_s = pause_s
        self._ended = Event()
        self._returning: list[Thread] = []
        self._thread = Thread(target=self._kill_until_stopped, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Kill no more; every pod is up again when this returns."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        for thread in self._returning:
            thread.join()

    def _kill_until_stopped(self) -> None:
        while not self._ended.wait(self._chance.uniform(0.3, 1.7) * self._pause_s):
            names = self._fleet.grown()
            if not names:
                continue
            name = self._chance.choice(names)
            if self._chance.random() < POD_SHARE:
                self._kill_pod(name)
            else:
                self._kill_worker(name)

    def _kill_pod(self, name: str) -> None:
        pod = self._fleet.pods[name]
        os.kill(pod.pid, signal.SIGKILL)
        self._note(name)
        delay = self._chance.uniform(0, LATEST_RETURN_S)
        thread = Thread(target=self._return, args=(pod, name, delay), daemon=True)
        self._returning.append(thread)
        thread.start()

    def _return(self, pod: PodProcess, name: str, delay_s: float) -> None:
        pod.stop()
        time.sleep(delay_s)
        self._fleet.start_one(name)

    def _kill_worker(self, name: str) -> None:
        workers = psutil.Process(self._fleet.pods[name].pid).children()
        if workers:
            victim = self._chance.choice(sorted(workers, key=lambda one: one.pid))
            victim.kill()
            self._note(f"{name} worker")

    def _note(self, what: str) -> None:
        self.seen.append(Seen(at=time.time(), kind=Kind.FAULT, key=what))
        print(f"killed {what}", flush=True)


def push_all(world: Deployment, jobs: int) -> list[Seen]:
    """Push jobs of all kinds, one every `PUSH_EVERY_S`; what was pushed."""
    seen = []
    for number in range(jobs):
        payload = job_of(number)
        world.application.submit(payload)
        seen.append(Seen(at=time.time(), kind=Kind.PUSHED, job=str(payload["id"])))
        time.sleep(PUSH_EVERY_S)
    return seen


def job_of(number: int) -> Payload:
    """Seven pictures, two clips and a text of every ten jobs."""
    kinds: list[Callable[[Seed], Payload]] = [text_to_image] * 7 + [video] * 2 + [chat]
    seed = Seed(job_id=f"job-{number:05}", user_id=f"user-{number % 5}", seed=number)
    return kinds[number % len(kinds)](seed)


def await_rest(world: Deployment, jobs: Sequence[str]) -> None:
    """Return when every job has been told to have ended, or when patience has."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ended = {
            body["job_id"]
            for body in world.application.callbacks(answered=True)
            if body["status"] in {"completed", "failed"}
        }
        print(f"{len(ended)} of {len(jobs)} ended", flush=True)
        if ended >= set(jobs):
            return
        time.sleep(LOOK_EVERY_S)


def application_saw(world: Deployment) -> Iterator[Seen]:
    """What was stored, and what was told and taken, as the application's records say."""
    for call in world.application.calls():
        if not call.executed:
            continue
        if call.name == "storage.put":
            key = call.path.partition(BUCKET)[2]
            yield Seen(at=call.at, kind=Kind.STORED, key=key)
        elif call.name == "job-callback":
            body = json.loads(call.body)
            yield Seen(
                at=call.at,
                kind=Kind.TOLD,
                job=body["job_id"],
                status=body["status"],
                digest=call.sha256,
                assets=tuple(asset["url"] for asset in body["assets"] if asset.get("url")),
            )


def doubled_assets(world: Deployment, jobs: Sequence[str]) -> int:
    """How many jobs have an asset index twice in the application's table."""
    found = 0
    for job in jobs:
        indices = [asset["asset_index"] for asset in world.application.assets(job)]
        found += len(indices) != len(set(indices))
    return found


def record(chosen: argparse.Namespace, verdict: Verdict, doubled: int) -> Path:
    """Write the figures."""
    counts = {
        "jobs": verdict.jobs,
        "lost": len(verdict.lost),
        "doubled": len(verdict.doubled) + doubled,
        "out_of_order": len(verdict.out_of_order),
        "unbacked": len(verdict.unbacked),
        "told_twice": len(verdict.told_twice),
    }
    figures = {name: figure(count, "jobs", verdict.jobs) for name, count in counts.items()}
    figures["kills"] = figure(verdict.kills, "kills", verdict.kills)
    figures["recovery_max_s"] = figure(verdict.recovery_s, "s", verdict.jobs)
    figures["lease_s"] = figure(LEASE_S, "s", 1)
    notes = (*NOTES, f"{chosen.pods} pods; seed {chosen.seed}.")
    versions = {"redis-server": server_version()}
    return write("chaos_redis", figures, ("redis", "psycopg"), notes, extra_versions=versions)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
