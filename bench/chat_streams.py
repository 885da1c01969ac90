"""Many talks at once on a machine without a card: fairness, cancelling, memory.

Usage: python -m bench.chat_streams [--users 64] [--tokens 96] [--cancels 20] [--short 5000]

Two real pods, one after the other. The first runs the pocket model: so many users at once, then
the same while callers leave in the middle of their texts. The second runs the fake engine: many
short texts, and what its processes hold in memory meanwhile.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import httpx
import msgspec
import psutil

from bench.record import Figure, figure, percentile, write
from ourvidz_worker.cli.chat_figures import LoadFigures, figures_of
from ourvidz_worker.cli.chat_load import ROUTE, ChatLoad, find_words, run_load
from ourvidz_worker.cli.chat_prompts import ChatPrompts
from ourvidz_worker.cli.chat_wire import ChatConnection, Target
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.testing.pod_process import PodProcess

CLOCK = SystemClock()
START_S = 300.0
LOOK_EVERY_S = 0.002
PATIENCE_S = 600.0
"""Many texts on few cores take longer than a caller is usually given."""

LEAVE_AFTER = 3
"""Pieces that a caller hears before leaving."""

LEAVE_S = 30.0
"""A worker that has not left a text by then never will."""

TOKENS_IN = 48
"""Of each prompt: its template, a dozen words, and the task."""

SHORT_USERS = 16
MIB = 2**20
MS = 1000.0
DISTRIBUTIONS = ("starlette", "uvicorn", "uvloop", "httptools", "pyzmq", "transformers", "torch")
NOTES = (
    "progress_ratio: tokens of the user furthest on over the one furthest behind among those who "
    "still talk when the first of all users has had a whole answer; reading the prompts counts. "
    "pace_ratio: the same of tokens a second since each one's first text.",
    "cancel: from the moment a caller's connection is closed until the worker has left the text, "
    "by the worker's own log, while the other users talk. cancel_tokens is that time over the "
    "median time between two pieces of the same run.",
    "rss_growth: between a fifth of the short texts and the last of them.",
)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What each process held after so many short texts, bytes."""

    after: list[int]
    pod: list[int]
    worker: list[int]


def main(arguments: Sequence[str]) -> int:
    """Measure and write the record; exit 1 when an answer failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=96, help="of each answer")
    parser.add_argument("--cancels", type=int, default=20)
    parser.add_argument("--short", type=int, default=5000, help="short texts, fake engine")
    chosen = parser.parse_args(arguments)
    load = ChatLoad(
        users=chosen.users, tokens_in=TOKENS_IN, tokens_out=chosen.tokens, patience_s=PATIENCE_S
    )
    with tempfile.TemporaryDirectory() as folder:
        with pocket_pod(Path(folder) / "pocket", chosen.users + 1) as pod:
            talks = asyncio.run(measure_talks(pod, load))
            print(f"{talks.tokens_per_s} tokens/s, ratio {talks.progress_ratio}", flush=True)
            left, beside = asyncio.run(measure_leaving(pod, load, chosen.cancels))
            print(f"left after {percentile(left, 50) * MS:.1f} ms (median)", flush=True)
        with fake_pod(Path(folder) / "fake", SHORT_USERS) as pod:
            short, memory = asyncio.run(measure_short(pod, chosen.short))
    figures = talk_figures(talks) | leave_figures(left, beside) | memory_figures(short, memory)
    file = write("chat_cpu", figures, DISTRIBUTIONS, NOTES)
    print(file.read_text(encoding="utf-8"))
    return 1 if talks.failures or beside.failures or short.failures else 0


# ---- pods -----------------------------------------------------------------------------------


@contextmanager
def pocket_pod(folder: Path, capacity: int) -> Iterator[PodProcess]:
    """A pod with the pocket chat model and so many texts at once."""
    options = msgspec.json.encode({"capacity": capacity}).decode()
    variables = {
        "OURVIDZ_CHAT_ENGINE": "chat_transformers",
        "OURVIDZ_CHAT_OPTIONS": options,
        "CHAT_REQUEST_TIMEOUT_S": str(PATIENCE_S),
    }
    with started(folder, variables, ["--pocket"]) as pod:
        yield pod


@contextmanager
def fake_pod(folder: Path, capacity: int) -> Iterator[PodProcess]:
    """A pod with the fake engine, as fast as it can."""
    options = msgspec.json.encode({"capacity": capacity}).decode()
    with started(folder, {"OURVIDZ_FAKE_OPTIONS": options}, ["--engine", "fake"]) as pod:
        yield pod


@contextmanager
def started(
    folder: Path, variables: dict[str, str], arguments: Sequence[str]
) -> Iterator[PodProcess]:
    """A pod with the chat lane alone, once it is ready."""
    folder.mkdir()
    environment = os.environ | {"OURVIDZ_LANES": "chat"} | variables
    log = folder / "pod.log"
    with PodProcess(folder / "state", log=log, arguments=arguments, environment=environment) as pod:
        deadline = time.perf_counter() + START_S
        while not is_ready(pod):
            if time.perf_counter() > deadline or not pod.is_alive():
                raise TimeoutError(f"the pod is not ready:\n{pod.last_words()}")
            time.sleep(0.1)
        yield pod


def is_ready(pod: PodProcess) -> bool:
    """True once the chat model is loaded."""
    try:
        told = httpx.get(f"http://127.0.0.1:{pod.chat_port}/health", timeout=30.0).json()
    except httpx.ConnectError:
        return False
    return bool(told["ready"])


def target_of(pod: PodProcess) -> Target:
    """Where the pod's chat port is."""
    return Target.of(f"http://127.0.0.1:{pod.chat_port}", pod.key())


# ---- what is measured -------------------------------------------------------------------------


async def measure_talks(pod: PodProcess, load: ChatLoad) -> LoadFigures:
    """One load of talks."""
    target = target_of(pod)
    words = await find_words(target, load, CLOCK)
    return figures_of(load, await run_load(target, load, words, CLOCK))


async def measure_leaving(
    pod: PodProcess, load: ChatLoad, cancels: int
) -> tuple[list[float], LoadFigures]:
    """How long each text ran on after its caller left, and the load that ran beside, seconds."""
    target = target_of(pod)
    words = await find_words(target, load, CLOCK)
    beside = asyncio.ensure_future(run_load(target, load, words, CLOCK))
    log = WorkerLog(pod.state / "logs" / "worker-chat.log")
    left: list[float] = []
    while len(left) < cancels:
        if beside.done():
            beside = asyncio.ensure_future(run_load(target, load, words, CLOCK))
        left.append(await leave_once(target, load, words, log))
    return left, figures_of(load, await beside)


async def leave_once(target: Target, load: ChatLoad, words: int, log: "WorkerLog") -> float:
    """Ask for a text, leave in its middle; how long the worker went on, seconds."""
    connection = await ChatConnection.connect(target, CLOCK)
    turns = ChatPrompts(load.mix, words).turns()
    request = target.request(ROUTE, load.body(turns, seed=1, tokens_out=1024))
    asking = asyncio.ensure_future(connection.ask(request))
    await until(lambda: connection.heard > LEAVE_AFTER, START_S)
    log.skip()
    gone_at = time.time()
    connection.close()
    await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: log.stopped_at() is not None, LEAVE_S)
    return max(0.0, (log.stopped_at() or gone_at) - gone_at)


async def until(is_true: Callable[[], bool], patience_s: float) -> None:
    """Wait until it is. Raises `TimeoutError`."""
    deadline = time.perf_counter() + patience_s
    while not is_true():
        if time.perf_counter() > deadline:
            raise TimeoutError
        await asyncio.sleep(LOOK_EVERY_S)


class WorkerLog:
    """Reads when the worker left a text."""

    def __init__(self, file: Path) -> None:
        """`file` is the worker's log."""
        self._file = file
        self._read = 0

    def skip(self) -> None:
        """What was written until now does not count."""
        self._read = self._file.stat().st_size

    def stopped_at(self) -> float | None:
        """When (wall clock) an attempt ended as stopped; None while none has."""
        with self._file.open("rb") as log:
            log.seek(self._read)
            lines = log.read().splitlines()
        for line in lines:
            try:
                told = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue  # the line is being written
            if told.get("outcome") == "stopped":
                return datetime.fromisoformat(told["time"]).timestamp()
        return None


async def measure_short(pod: PodProcess, texts: int) -> tuple[LoadFigures, Memory]:
    """Many texts of one to four tokens, and what the processes held meanwhile."""
    target = target_of(pod)
    processes = [psutil.Process(pod.pid), *psutil.Process(pod.pid).children()]
    each = max(1, texts // 10 // SHORT_USERS)
    memory = Memory(after=[], pod=[], worker=[])
    rounds = []
    for number in count(1):
        load = ChatLoad(users=SHORT_USERS, requests=each, tokens_out=1 + number % 4)
        rounds.append(await run_load(target, load, 16, CLOCK))
        memory.after.append(number * each * SHORT_USERS)
        memory.pod.append(processes[0].memory_info().rss)
        memory.worker.append(sum(one.memory_info().rss for one in processes[1:]))
        print(f"{memory.after[-1]} short texts", flush=True)
        if memory.after[-1] >= texts:
            break
    users = [user for users in rounds for user in users]
    return figures_of(ChatLoad(users=SHORT_USERS), users), memory


# ---- figures ----------------------------------------------------------------------------------


def talk_figures(talks: LoadFigures) -> dict[str, Figure]:
    """All users at once on the pocket model."""
    return {
        "users": figure(talks.load.users, "users", talks.answers),
        "tokens_per_s": figure(talks.tokens_per_s, "tokens/s", talks.tokens),
        "progress_ratio": figure(talks.progress_ratio, "ratio", talks.load.users),
        "pace_ratio": figure(talks.pace_ratio, "ratio", talks.load.users),
        "first_p50_ms": figure(talks.first.p50, "ms", talks.first.n),
        "first_p95_ms": figure(talks.first.p95, "ms", talks.first.n),
        "gap_p50_ms": figure(talks.gap.p50, "ms", talks.gap.n),
        "gap_p95_ms": figure(talks.gap.p95, "ms", talks.gap.n),
        "failed": figure(sum(talks.failures.values()), "answers", talks.answers),
    }


def leave_figures(left: Sequence[float], beside: LoadFigures) -> dict[str, Figure]:
    """How soon the work of a caller who left ends."""
    piece_s = beside.gap.p50 / MS
    return {
        "cancel_p50_ms": figure(percentile(left, 50) * MS, "ms", len(left)),
        "cancel_max_ms": figure(max(left) * MS, "ms", len(left)),
        "cancel_tokens_max": figure(max(left) / piece_s if piece_s else 0.0, "tokens", len(left)),
    }


def memory_figures(short: LoadFigures, memory: Memory) -> dict[str, Figure]:
    """What many short texts leave behind in memory."""
    first = next(at for at, done in enumerate(memory.after) if done * 5 >= memory.after[-1])
    texts = memory.after[-1] - memory.after[first]
    return {
        "short_per_s": figure(short.answers_per_s, "texts/s", short.answers),
        "short_failed": figure(sum(short.failures.values()), "texts", memory.after[-1]),
        "rss_pod_mib": figure(memory.pod[-1] / MIB, "MiB", texts),
        "rss_worker_mib": figure(memory.worker[-1] / MIB, "MiB", texts),
        "rss_growth_pod_mib": figure((memory.pod[-1] - memory.pod[first]) / MIB, "MiB", texts),
        "rss_growth_worker_mib": figure(
            (memory.worker[-1] - memory.worker[first]) / MIB, "MiB", texts
        ),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
