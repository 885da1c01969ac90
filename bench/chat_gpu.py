"""The chat lane on a CUDA card beside plain vLLM: rate, first token, parking and waking.

Usage: python -m bench.chat_gpu [--only peer,pod,again,engine] [--out FOLDER]

One model of Qwen2.5-7B's shape with random weights, prompts of 256 tokens and answers of 256,
greedy; 1, 16 and 64 users, each asking its next question when the last is answered. One after
another, each in processes of its own that have ended before the next begins: plain vLLM with
token ids in (the peer); our pod over HTTP with events; the peer at 64 users again, which shows
how much the card drifted; our engine alone, parked and woken. What is known is written after
each stage.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import httpx
import msgspec

from bench.chat_gpu_engine import Moves
from bench.chat_gpu_load import Seen, read_counts
from bench.chat_gpu_model import build_model
from bench.chat_gpu_pod import PodLoad, load_pod
from bench.record import Figure, figure, write
from ourvidz_worker.cli.chat_prompts import TASK, WORDS

STAGES = ("peer", "pod", "again", "engine")
LIMIT_S = 240.0
"""No stage may take longer; one that does is killed, and the others go on."""

TURNS = "user assistant system"
PEER = "vllm"
DISTRIBUTIONS = ("vllm", "torch", "transformers", "starlette", "uvicorn")
NOTES = (
    "Random weights of Qwen2.5-7B's shape in bfloat16; 256 tokens in, 256 out, greedy.",
    "The peer is plain vLLM with the same engine arguments, ids in, load in the same process.",
    "Ours is the whole pod, over HTTP, the load in a process of its own; times are the client's.",
    "freed_gb is what the driver counts less after a park, in 10^9 bytes.",
)


def main(arguments: Sequence[str]) -> int:
    """Go through the stages; exit 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(STAGES), help="stages, comma separated")
    parser.add_argument("--loads", default="1x6,16x3,64x4", help="users x questions of each")
    parser.add_argument("--out", type=Path, help="folder for logs and raw figures")
    chosen = parser.parse_args(arguments)
    out = chosen.out or Path(tempfile.mkdtemp(prefix="chat-gpu-"))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(out, build_model(Path(folder) / "model", f"{WORDS} {TASK} {TURNS}".split()))
        bench.loads = chosen.loads
        for stage in chosen.only.split(","):
            bench.run(stage)
    print(bench.table(), flush=True)
    return 1 if bench.failed else 0


class Bench:
    """The stages, and what they found so far."""

    def __init__(self, out: Path, model: Path) -> None:
        """Logs go to `out`."""
        self.failed: list[str] = []
        self.loads = ""
        self._out, self._model = out, model
        self._peer: dict[int, Seen] = {}
        self._again: dict[int, Seen] = {}
        self._pod: dict[int, PodLoad] = {}
        self._moves: Moves | None = None
        self._stages: dict[str, Callable[[], None]] = {
            "peer": lambda: self._measure_peer(self._peer, self.loads, "peer"),
            "again": lambda: self._measure_peer(self._again, self.loads.split(",")[-1], "again"),
            "pod": self._measure_pod,
            "engine": self._measure_engine,
        }

    def run(self, stage: str) -> None:
        """One stage; a failure is noted and the next may begin."""
        begun = time.monotonic()
        try:
            self._stages[stage]()
        except (OSError, RuntimeError, subprocess.SubprocessError, httpx.HTTPError) as error:
            self.failed.append(stage)
            print(f"{stage} FAILED: {error}", flush=True)
        print(f"{stage}: {time.monotonic() - begun:.0f} s", flush=True)
        figures = self.figures()
        if figures:
            write("chat_gpu", figures, DISTRIBUTIONS, (*NOTES, *self._seen_beside()))

    def figures(self) -> dict[str, Figure]:
        """What is known, in the record's form."""
        found: dict[str, Figure] = {}
        for users, ours in self._pod.items():
            peer = self._peer.get(users)
            rate = {PEER: peer.tokens_per_s} if peer else {}
            first = {PEER: peer.first_p50_ms} if peer else {}
            late = {PEER: peer.first_p95_ms} if peer else {}
            gap = {PEER: peer.gap_p50_ms} if peer else {}
            n = ours.answers
            found[f"tokens_per_s_{users}"] = figure(ours.tokens_per_s, "tokens/s", n, rate)
            found[f"ttft_ms_{users}"] = figure(ours.first_p50_ms, "ms", n, first)
            found[f"ttft_p95_ms_{users}"] = figure(ours.first_p95_ms, "ms", n, late)
            found[f"gap_ms_{users}"] = figure(ours.gap_p50_ms, "ms", n, gap)
        if self._moves is not None:
            found["park_ms"] = figure(self._moves.park_ms, "ms", 3)
            found["wake_ms"] = figure(self._moves.wake_ms, "ms", 3)
            found["freed_gb"] = figure(self._moves.freed_gb, "GB", 3)
            found["load_s"] = figure(self._moves.load_s, "s", 1)
            for load in self._moves.loads:
                name = f"engine_tokens_per_s_{load.users}"
                found[name] = figure(load.tokens_per_s, "tokens/s", load.answers)
        return found

    def table(self) -> str:
        """The loads side by side."""
        lines = [
            f"{'':>10} {'users':>5} {'tokens/s':>9} {'first p50':>10} {'p95':>8} {'gap p50':>8}"
        ]
        rows: list[tuple[str, Seen | PodLoad]] = [
            *(("peer", each) for each in self._peer.values()),
            *(("pod", each) for each in self._pod.values()),
            *(("peer again", each) for each in self._again.values()),
            *(("engine", each) for each in (self._moves.loads if self._moves else [])),
        ]
        lines += [
            f"{name:>10} {row.users:>5} {row.tokens_per_s:>9.0f} {row.first_p50_ms:>10.1f}"
            f" {row.first_p95_ms:>8.1f} {row.gap_p50_ms:>8.2f}"
            for name, row in rows
        ]
        lines += [
            f"{name}: {each.value:g} {each.unit}"
            + "".join(f" ({peer}: {it.value:g}, x{it.ratio:g})" for peer, it in each.peers.items())
            for name, each in self.figures().items()
        ]
        return "\n".join([*lines, *self._seen_beside()])

    def _measure_peer(self, into: dict[int, Seen], loads: str, name: str) -> None:
        raw = self._out / f"{name}.jsonl"
        module = ["bench.chat_gpu_peer", str(self._model), "--out", str(raw), "--loads", loads]
        try:
            self._end_of(name, module)
        finally:
            lines = raw.read_bytes().splitlines() if raw.exists() else []
            into.update({each.users: each for each in map(_seen, lines)})

    def _measure_engine(self) -> None:
        raw = self._out / "engine.json"
        last = self.loads.split(",")[-1]
        module = ["bench.chat_gpu_engine", str(self._model), "--out", str(raw), "--loads", last]
        self._end_of("engine", module)
        self._moves = msgspec.json.decode(raw.read_bytes(), type=Moves)

    def _measure_pod(self) -> None:
        for load in load_pod(self._model, read_counts(self.loads), self._out):
            self._pod[load.users] = load
            print(f"pod {msgspec.json.encode(load).decode()}", flush=True)

    def _end_of(self, name: str, module: Sequence[str]) -> None:
        """Run a module to its end, its children with it. Raises `RuntimeError` when it failed."""
        log = self._out / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                code = process.wait(LIMIT_S)
            finally:
                _kill_group(process.pid)
        if code != 0:
            raise RuntimeError(f"exit code {code}; the end of {log.name}:\n{last_lines(log)}")

    def _seen_beside(self) -> list[str]:
        told = [f"The card: {card()}."]
        for users, again in self._again.items():
            told.append(
                f"The peer at {users} users once more, after the pod: {again.tokens_per_s:.0f}"
                f" tokens/s, first {again.first_p50_ms:.1f} ms."
            )
        if self._moves is not None:
            told.append(
                f"Parked, {self._moves.asleep_gb:.2f} GB stay on the card; the first token after"
                f" a wake took {self._moves.first_ms_after_wake:.1f} ms; the text after each wake"
                f" was {'' if self._moves.is_same_after_wake else 'NOT '}the same."
            )
        return told


def card() -> str:
    """The first card's name and driver; empty without one."""
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
    except (ImportError, OSError, RuntimeError):
        return "unknown"
    try:
        name = nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(0))
        return f"{name}, driver {nvml.nvmlSystemGetDriverVersion()}"
    finally:
        nvml.nvmlShutdown()


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])


def _seen(line: bytes) -> Seen:
    return msgspec.json.decode(line, type=Seen)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
