"""Our pod with the chat lane alone, under the load of `ourvidz-worker bench chat`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import msgspec
import psutil

from ourvidz_worker.testing.pod_process import PodProcess

START_S = 200.0
LOAD_S = 150.0
LOOK_EVERY_S = 0.5
TOKENS = 256
OPTIONS = {"load_format": "dummy"}


class PodLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One load as its client saw it; `busy` is the processor time of each process, in cores."""

    users: int
    answers: int
    failures: dict[str, int]
    tokens: int
    tokens_per_s: float
    first_p50_ms: float
    first_p95_ms: float
    gap_p50_ms: float
    gap_p95_ms: float
    prompt_tokens: float
    full_length_share: float
    busy: dict[str, float]


def load_pod(model: Path, loads: Sequence[tuple[int, int]], out: Path) -> Iterator[PodLoad]:
    """Start the pod, put one load after another on it, and end it. Raises `RuntimeError`."""
    log = out / "pod.log"
    environment = {
        **os.environ,
        "OURVIDZ_LANES": "chat",
        "OURVIDZ_CHAT_ENGINE": "chat_vllm",
        "OURVIDZ_CHAT_OPTIONS": json.dumps(OPTIONS),
        "OURVIDZ_DEVICE": "cuda",
        "OURVIDZ_DTYPE": "bfloat16",
        "QWEN_INSTRUCT_PATH": str(model),
    }
    state = out / "state"
    with PodProcess(state, log=log, arguments=["--no-pocket"], environment=environment) as pod:
        begun = time.monotonic()
        wait_until_loaded(pod, begun + START_S)
        print(f"pod ready in {time.monotonic() - begun:.1f} s", flush=True)
        for users, questions in loads:
            yield load_of(pod, users, questions, out)


def wait_until_loaded(pod: PodProcess, until: float) -> None:
    """Wait for the chat model. Raises `RuntimeError` when it does not come."""
    while time.monotonic() < until:
        if not pod.is_alive():
            break
        try:
            health = httpx.get(f"{pod.url}/health", timeout=5.0).json()
        except (httpx.HTTPError, ValueError):
            health = {}
        if health.get("models_loaded", {}).get("instruct_loaded"):
            return
        time.sleep(LOOK_EVERY_S)
    raise RuntimeError(f"the pod did not load its model:\n{pod.last_words()}")


def load_of(pod: PodProcess, users: int, questions: int, out: Path) -> PodLoad:
    """One load, from a process of its own."""
    raw = out / f"pod-{users}.json"
    url = f"http://127.0.0.1:{pod.chat_port}"
    command = [sys.executable, "-m", "ourvidz_worker", "bench", "chat"]
    command += ["--url", url, "--key", pod.key(), "--users", str(users)]
    command += ["--requests", str(questions), "--tokens-in", str(TOKENS)]
    command += ["--tokens-out", str(TOKENS), "--extra", '{"temperature": 0}', "--json", str(raw)]
    before = processor_times(pod.pid)
    with (out / f"pod-{users}.log").open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, timeout=LOAD_S, check=False)
    if not raw.exists():
        raise RuntimeError(f"the load of {users} users ended early; see pod-{users}.log")
    (told,) = msgspec.json.decode(raw.read_bytes())
    after = processor_times(pod.pid)
    return PodLoad(
        users=users,
        answers=told["answers"],
        failures=told["failures"],
        tokens=told["tokens"],
        tokens_per_s=told["tokens_per_s"],
        first_p50_ms=told["first"]["p50"],
        first_p95_ms=told["first"]["p95"],
        gap_p50_ms=told["gap"]["p50"],
        gap_p95_ms=told["gap"]["p95"],
        prompt_tokens=told["prompt_tokens"],
        full_length_share=told["full_length_share"],
        busy={
            name: round((spent - before.get(name, 0.0)) / told["seconds"], 2)
            for name, spent in after.items()
        },
    )


def processor_times(pid: int) -> dict[str, float]:
    """Seconds of processor time of the pod, its worker and vLLM's process so far."""
    pod = psutil.Process(pid)
    found: dict[str, float] = {"pod": _seconds(pod)}
    for worker in pod.children():
        found["worker"] = found.get("worker", 0.0) + _seconds(worker)
        for child in worker.children(recursive=True):
            found["vllm"] = found.get("vllm", 0.0) + _seconds(child)
    return found


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
