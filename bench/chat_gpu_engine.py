"""Our text engine alone, without worker, pod and HTTP: parking, waking, and one load.

Usage: python -m bench.chat_gpu_engine FOLDER --out FILE [--loads 64x2] [--cycles 3]

The card's used memory is read from the driver, whoever uses it: nothing else should run.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from statistics import median

import msgspec

from bench.chat_gpu_load import MS, Seen, Text, prompt, read_counts, seen
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines.text import TextEngine, TextSettings, make_text_engine

GB = 1e9
CONTEXT = 32_768
CAPACITY = 256
READ_S = 1.0
PROOF = Sampling(max_tokens=32, temperature=0.0)


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """What parking costs and gives; times are medians of the cycles."""

    load_s: float
    park_ms: float
    wake_ms: float
    freed_gb: float
    asleep_gb: float
    first_ms_after_wake: float
    is_same_after_wake: bool
    loads: list[Seen]


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the figures to the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--loads", default="64x2")
    parser.add_argument("--tokens-in", type=int, default=256)
    parser.add_argument("--tokens-out", type=int, default=256)
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--load-format", default="dummy")
    chosen = parser.parse_args(arguments)
    settings = TextSettings(
        model=chosen.folder,
        ends=frozenset(),
        context=CONTEXT,
        device="cuda",
        dtype="bfloat16",
        capacity=CAPACITY,
        options={"load_format": chosen.load_format},
    )
    engine = make_text_engine("vllm", settings)
    begun = time.perf_counter()
    engine.load(lambda part, fraction: print(f"engine {part} {fraction:.1f}", flush=True))
    load_s = time.perf_counter() - begun
    try:
        moves = measure(engine, chosen, load_s)
    finally:
        engine.close()
    chosen.out.write_bytes(msgspec.json.encode(moves) + b"\n")
    print(f"engine {msgspec.json.encode(moves).decode()}", flush=True)
    return 0


def measure(engine: TextEngine, chosen: argparse.Namespace, load_s: float) -> Moves:
    """Park and wake in turns, then the loads."""
    chance = random.Random(2)  # noqa: S311 - variety, no secret
    ids = prompt(chosen.tokens_in, chance)
    expected = write(engine, ids, PROOF)[1]
    parks, wakes, freed, asleep, first = [], [], [], [], []
    is_same = True
    for _ in range(chosen.cycles):
        before, begun = used_bytes(), time.perf_counter()
        engine.park()
        parks.append(time.perf_counter() - begun)
        asleep.append(used_bytes())
        freed.append(before - asleep[-1])
        begun = time.perf_counter()
        engine.wake()
        wakes.append(time.perf_counter() - begun)
        text, found = write(engine, ids, PROOF)
        first.append(text.arrivals[0][0] - text.asked_at)
        is_same = is_same and found == expected
    return Moves(
        load_s=load_s,
        park_ms=median(parks) * MS,
        wake_ms=median(wakes) * MS,
        freed_gb=median(freed) / GB,
        asleep_gb=median(asleep) / GB,
        first_ms_after_wake=median(first) * MS,
        is_same_after_wake=is_same,
        loads=[
            seen(users, load(engine, users, questions, chosen))
            for users, questions in read_counts(chosen.loads)
        ],
    )


def load(engine: TextEngine, users: int, questions: int, chosen: argparse.Namespace) -> list[Text]:
    """So many users at once, a thread for each, as the worker has them."""
    sampling = Sampling(max_tokens=chosen.tokens_out, temperature=0.0)

    def talk(user: int) -> list[Text]:
        chance = random.Random(1000 + user)  # noqa: S311 - variety, no secret
        return [
            write(engine, prompt(chosen.tokens_in, chance), sampling)[0] for _ in range(questions)
        ]

    with ThreadPoolExecutor(users) as threads:
        return [text for talk_ in threads.map(talk, range(users)) for text in talk_]


def write(engine: TextEngine, ids: list[int], sampling: Sampling) -> tuple[Text, list[int]]:
    """One text: when its tokens came, and which."""
    text, found = Text(asked_at=time.perf_counter()), list[int]()
    stream = engine.add(ids, sampling, 1)
    finish = None
    while finish is None:
        part = stream.read(READ_S)
        text.note(len(part.tokens))
        found.extend(token.id for token in part.tokens)
        finish = part.finish
    return text, found


def used_bytes() -> int:
    """What the first card's driver counts as used."""
    nvml = import_module("pynvml")
    nvml.nvmlInit()
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(0)).used)
    finally:
        nvml.nvmlShutdown()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
