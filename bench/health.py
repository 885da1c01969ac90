"""How soon `/health` answers while every lane works, and while a model loads.

Usage: python -m bench.health [--seconds 20] [--engine fake]

Starts a real pod with `up`. Loading: from the moment it answers until every model is loaded.
Busy: each lane has a job running and jobs waiting for the whole time. Both ports are asked in
turns, 50 times a second, on a connection that is kept.
"""

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from bench.record import figure, percentile, write
from ourvidz_worker.client import AsyncClient
from ourvidz_worker.testing.pod_process import PodProcess

ASK_EVERY_S = 0.02
LOOK_EVERY_S = 0.5
START_S = 300.0
WAITING = 3
"""Jobs that each lane holds at any moment: one runs, the others wait."""

LANES = {"image": "sdxl_image_fast", "video": "video_fast", "chat": "chat_conversation"}
MODELS = ("sdxl_loaded", "instruct_loaded", "wan_loaded")
SLOW_FAKE = '{"steps_s": 0.05, "load_s": 3.0}'
DISTRIBUTIONS = ("starlette", "uvicorn", "msgspec")
NOTES = (
    "Loading counts from the pod's first answer until every lane's model is loaded.",
    "Busy: one job running and two waiting in each lane throughout; a request waits for no other.",
)


def main(arguments: Sequence[str]) -> int:
    """Measure and write the record; exit 1 when a pod did not do as asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long all lanes work")
    parser.add_argument("--engine", choices=["fake"], help="use no model at all")
    chosen = parser.parse_args(arguments)
    options = ["--engine", "fake"] if chosen.engine else []
    environment = dict(os.environ)
    if chosen.engine:
        environment["OURVIDZ_FAKE_OPTIONS"] = SLOW_FAKE
    with tempfile.TemporaryDirectory() as folder:
        state, log = Path(folder) / "state", Path(folder) / "pod.log"
        with PodProcess(state, log=log, arguments=options, environment=environment) as pod:
            loading, busy = asyncio.run(measure(pod, chosen.seconds))
    figures = {
        "p99_ms_busy": figure(percentile(busy, 99) * 1000, "ms", len(busy)),
        "p99_ms_loading": figure(percentile(loading, 99) * 1000, "ms", len(loading)),
        "max_ms_busy": figure(max(busy) * 1000, "ms", len(busy)),
        "max_ms_loading": figure(max(loading) * 1000, "ms", len(loading)),
    }
    file = write("health", figures, DISTRIBUTIONS, NOTES)
    print(file.read_text(encoding="utf-8"))
    return 0


async def measure(pod: PodProcess, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds that each answer took: while loading, and while all lanes work."""
    urls = [f"{url}/health" for url in (pod.url, f"http://127.0.0.1:{pod.chat_port}")]
    async with httpx.AsyncClient(timeout=30.0) as http:
        await first_answer(http, urls, pod)
        async with AsyncClient(pod.url, pod.key()) as client:
            loading = await while_loading(http, urls, client)
            return loading, await while_busy(http, urls, client, seconds)


async def while_loading(
    http: httpx.AsyncClient, urls: Sequence[str], client: AsyncClient
) -> list[float]:
    """How long each answer took until every model was loaded."""
    taken: list[float] = []
    is_late = until_s(START_S)
    while not await all_loaded(client):
        if is_late():
            raise TimeoutError("the models were not loaded")
        taken += await ask(http, urls, until_s(LOOK_EVERY_S))
    return taken


async def while_busy(
    http: httpx.AsyncClient, urls: Sequence[str], client: AsyncClient, seconds: float
) -> list[float]:
    """How long each answer took while every lane worked. Raises what broke a lane."""
    keepers = [asyncio.create_task(keep_busy(client, lane)) for lane in LANES]
    await all_busy(client)
    taken = await ask(http, urls, until_s(seconds))
    for keeper in keepers:
        if keeper.done():
            keeper.result()
        keeper.cancel()
    await asyncio.gather(*keepers, return_exceptions=True)
    return taken


async def ask(
    http: httpx.AsyncClient, urls: Sequence[str], is_over: Callable[[], bool]
) -> list[float]:
    """Ask the addresses in turns until it is over; how long each answer took."""
    taken = []
    for url in itertools.cycle(urls):
        begun = time.perf_counter()
        answer = await http.get(url)
        taken.append(time.perf_counter() - begun)
        if not answer.content:
            raise ValueError(f"{url} answered nothing")
        if is_over():
            break
        await asyncio.sleep(max(0.0, ASK_EVERY_S - taken[-1]))
    return taken


async def keep_busy(client: AsyncClient, lane: str) -> None:
    """Hold `WAITING` jobs in a lane at every moment, until cancelled."""

    async def one_after_another(worker: int) -> None:
        for number in itertools.count():
            job_id = f"{lane}-{worker}-{number}"
            await client.submit(LANES[lane], "a red apple on a blue background", job_id=job_id)
            await client.wait(job_id)

    await asyncio.gather(*(one_after_another(worker) for worker in range(WAITING)))


async def all_busy(client: AsyncClient) -> None:
    """Return when every lane works on a job."""
    deadline = time.perf_counter() + START_S
    while time.perf_counter() < deadline:
        depths = (await client.health()).queue.values()
        if all(depth.get("in_progress", 0) > 0 for depth in depths):
            return
        await asyncio.sleep(ASK_EVERY_S)
    raise TimeoutError("the lanes did not begin to work")


async def all_loaded(client: AsyncClient) -> bool:
    """True when every lane's model is loaded."""
    loaded = (await client.health()).models_loaded
    return all(loaded.get(name) for name in MODELS)


async def first_answer(http: httpx.AsyncClient, urls: Sequence[str], pod: PodProcess) -> None:
    """Return when every address answers."""
    deadline = time.perf_counter() + START_S
    for url in urls:
        while not await answers(http, url):
            if time.perf_counter() > deadline or not pod.is_alive():
                raise TimeoutError(f"the pod does not answer:\n{pod.last_words()}")


async def answers(http: httpx.AsyncClient, url: str) -> bool:
    """True when there is an answer."""
    try:
        return bool((await http.get(url)).content)
    except httpx.ConnectError:
        await asyncio.sleep(ASK_EVERY_S)
        return False


def until_s(seconds: float) -> Callable[[], bool]:
    """A question that is true once that many seconds have passed."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
