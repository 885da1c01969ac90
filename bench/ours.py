"""Our side of the control-plane bench: the whole pod on the fake engine, and its queue alone."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec

from bench.load import Measured, calibrate, send_spaced
from ourvidz_worker.client import AsyncClient, ClientError
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.config import read_config
from ourvidz_worker.domain.job import Job, Lease, Status
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.queue import QueueSettings, Settlement, Store, make_queue
from ourvidz_worker.testing.pod_process import PodProcess, free_ports
from ourvidz_worker.wiring.parts import Parts, build_parts
from ourvidz_worker.wiring.state import admin_key

JOB_TYPE = JOB_TYPES["chat_conversation"]
PROMPT = "one word"
OPTIONS = {"config": {"max_tokens": 1}}
TOGETHER = 10
"""Attempts at once, as many as each peer is given."""

DRAIN_S = 300.0
LEASE_S = 60.0
LOOK_EVERY_S = 0.05


async def measure_pod(folder: Path, jobs: int, spaced: int, gap_s: float) -> Measured:
    """Drain `jobs` that waited before the pod started, then time `spaced` on its idle lane."""
    state, witness = folder / "state", folder / "witness"
    calibration_s = calibrate()
    await fill(state, jobs)
    environment = {**os.environ, "OURVIDZ_FAKE_OPTIONS": fake_options(witness)}
    arguments = ["--engine", "fake"]
    with PodProcess(
        state, log=folder / "pod.log", arguments=arguments, environment=environment
    ) as pod:
        async with AsyncClient(pod.url, admin_key(state)) as client:
            await completed(client, jobs)
            begun = lines(witness)[0]
            sent = await send_spaced(lambda number: hand_in(client, number), spaced, gap_s)
            await completed(client, jobs + spaced)
        pod.stop()
    started = sorted(lines(witness)[jobs:])
    ends = await settled_at(state, jobs)
    return Measured(
        per_s=(jobs - 1) / (max(ends) - begun),
        latencies_s=[start - at for start, at in zip(started, sent, strict=True)],
        calibration_s=calibration_s,
    )


async def measure_in_process(folder: Path, spaced: int, gap_s: float) -> list[float]:
    """Seconds from submit to start with the pod's parts in this process and no HTTP socket."""
    witness = folder / "witness"
    ports = free_ports(2)
    config = read_config(
        overrides={
            "STATE_DIR": str(folder / "state"),
            "WORKER_PORT": str(ports[0]),
            "CHAT_WORKER_PORT": str(ports[1]),
            "OURVIDZ_FAKE_OPTIONS": fake_options(witness),
            **dict.fromkeys(
                ("OURVIDZ_IMAGE_ENGINE", "OURVIDZ_CHAT_ENGINE", "OURVIDZ_VIDEO_ENGINE"), "fake"
            ),
        }
    )
    parts = await build_parts(config, folder)
    async with running(parts):
        transport = httpx.ASGITransport(app=parts.wan_app)
        key = admin_key(folder / "state")
        async with AsyncClient("http://pod", key, transport=transport) as client:
            await completed(client, 0)
            sent = await send_spaced(lambda number: hand_in(client, number), spaced, gap_s)
            await completed(client, spaced)
    return [start - at for start, at in zip(sorted(lines(witness)), sent, strict=True)]


async def measure_queue(folder: Path, jobs: int) -> float:
    """Jobs a second through lease, start and settle, without a worker, `TOGETHER` at once."""
    state = folder / "state"
    await fill(state, jobs)
    queue = await opened(state)
    begun = time.perf_counter()
    left = jobs
    while left > 0:
        leases = await queue.lease("bench", {JOB_TYPE.lane: TOGETHER}, LEASE_S)
        await asyncio.gather(*(settle(queue, lease) for lease in leases))
        left -= len(leases)
    seconds = time.perf_counter() - begun
    await queue.close()
    return jobs / seconds


async def fill(state: Path, jobs: int) -> None:
    """Put jobs into a new queue."""
    await asyncio.to_thread(state.mkdir, parents=True)
    queue = await opened(state)
    await asyncio.gather(*(queue.submit(new_job(number)) for number in range(jobs)))
    await queue.close()


async def hand_in(client: AsyncClient, number: int) -> None:
    """Hand in one job over the interface."""
    await client.submit(JOB_TYPE.name, PROMPT, job_id=f"spaced-{number}", config=OPTIONS["config"])


async def completed(client: AsyncClient, jobs: int) -> None:
    """Return when the pod is ready and has completed that many."""
    deadline = time.perf_counter() + DRAIN_S
    while time.perf_counter() < deadline:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            health = await client.health()
        except ClientError:
            continue
        loaded = health.models_loaded.get("wan_loaded")
        if loaded and health.stats.get("jobs_completed", 0) >= jobs:
            return
    raise TimeoutError(f"{jobs} jobs were not completed in {DRAIN_S} s")


async def settled_at(state: Path, jobs: int) -> list[float]:
    """When each of the jobs that waited at the start was settled."""
    queue = await opened(state)
    records = await queue.recent(status=Status.COMPLETED, limit=10 * jobs)
    await queue.close()
    ends = [record.settled_at or 0.0 for record in records if record.job.id.startswith("job-")]
    if len(ends) != jobs:
        raise ValueError(f"{len(ends)} of {jobs} jobs were settled")
    return ends


async def settle(queue: Store, lease: Lease) -> None:
    """Work a lease without working."""
    await queue.start(lease.token)
    await queue.settle(lease.token, Settlement(status=Status.COMPLETED))


@asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[None]:
    """Run a pod's parts in this loop, and take them down again."""
    crew = asyncio.create_task(parts.crew.run())
    works = [asyncio.create_task(work) for work in parts.works()]
    try:
        yield
    finally:
        await parts.crew.stop(1.0)
        for task in works:
            task.cancel()
        await asyncio.gather(crew, *works, return_exceptions=True)
        await parts.close()


def new_job(number: int) -> Job:
    """One job as the desk would store it."""
    name = f"job-{number}"
    fields = {"id": name, "type": JOB_TYPE.name, "user_id": "bench", "prompt": PROMPT, **OPTIONS}
    return Job(
        id=name,
        type=JOB_TYPE.name,
        user_id="bench",
        lane=JOB_TYPE.lane,
        priority=JOB_TYPE.priority,
        payload=msgspec.json.encode(fields),
        submitted_at=time.time(),
    )


def fake_options(witness: Path) -> str:
    """The fake engine's options: no time of its own, and a line for each beginning."""
    return msgspec.json.encode({"capacity": TOGETHER, "witness": str(witness)}).decode()


def lines(witness: Path) -> list[float]:
    """The times that were witnessed, in the order of writing."""
    return [float(line) for line in witness.read_text(encoding="ascii").split()]


async def opened(state: Path) -> Store:
    """The queue in a state folder that no pod owns now."""
    queue = make_queue("sqlite", QueueSettings(state_dir=state), SystemClock())
    await queue.open()
    return queue
