"""The ``chat-eval`` stage: how soon the chat model speaks after it has been loaded.

The text models are judged by their makers; what is measured here is time alone, with the worker's
own engine.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch

from ourvidz_worker.domain.request import ChatRequest, Message, Sampling
from ourvidz_worker.domain.text_reply import TokenChoice
from ourvidz_worker.engines import EngineSettings, Task, make_engine
from ourvidz_worker.testing.gate import RecordingGate

FIRST_TOKEN_LIMIT_S = 2.0
_TOKENS = 24
_QUESTION = "Name three fruits that are red, and say in one sentence how each of them tastes."


class FirstWord(RecordingGate):
    """A gate that notes when the first text came."""

    def __init__(self) -> None:
        super().__init__()
        self.first: tuple[float, float] | None = None

    def text(self, piece: str, tokens: int, choices: tuple[TokenChoice, ...] = ()) -> None:
        """Note the time of the first piece."""
        if self.first is None:
            self.first = (time.monotonic(), time.process_time())
        super().text(piece, tokens, choices)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's options."""
    cached = Path("models/cache/smollm2-135m-instruct")
    parser.add_argument("--model", type=Path, default=cached)
    parser.add_argument("--out", type=Path, default=Path("models/pocket/chat-times.json"))
    parser.add_argument("--answers", type=int, default=5)


def run(arguments: argparse.Namespace) -> None:
    """Load once, ask several times, write the figures."""
    engine = make_engine("chat_transformers", EngineSettings(model=arguments.model, threads=1))
    wall, cpu = time.monotonic(), time.process_time()
    engine.load(lambda part, fraction: None)
    loaded = {"wall_s": _s(time.monotonic() - wall), "cpu_s": _s(time.process_time() - cpu)}
    request = ChatRequest(
        job_type="chat_conversation",
        sampling=Sampling(max_tokens=_TOKENS, temperature=0.0),
        messages=(Message(role="user", content=_QUESTION),),
    )
    walls, cpus, speeds = [], [], []
    for _ in range(arguments.answers):
        gate = FirstWord()
        with tempfile.TemporaryDirectory() as folder:
            task = Task(request=request, seed=1, spool=Path(folder), references={})
            begin, begin_cpu = time.monotonic(), time.process_time()
            work = engine.begin(task)
            for stage in engine.stages(task):
                work = stage.run(work, gate)
            engine.finish(work, Path(folder))
        end_cpu = time.process_time()
        if gate.first is None:
            raise SystemExit("The chat model said nothing.")
        walls.append(gate.first[0] - begin)
        cpus.append(gate.first[1] - begin_cpu)
        speeds.append((gate.tokens[-1] - gate.tokens[0]) / max(end_cpu - gate.first[1], 1e-6))
    first = {"cpu_s": _s(statistics.median(cpus)), "wall_s": _s(statistics.median(walls))}
    figures = {
        "reached": first["cpu_s"] <= FIRST_TOKEN_LIMIT_S,
        "first_token_at_most_s": FIRST_TOKEN_LIMIT_S,
        "first_token": first,
        "first_token_slowest_wall_s": _s(max(walls)),
        "tokens_per_cpu_s": _s(statistics.median(speeds)),
        "load": loaded,
        "answers": arguments.answers,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    text = json.dumps(figures, indent=2)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def _s(seconds: float) -> float:
    return round(seconds, 2)
