"""The device is shared, and health answers whatever it does (lines 34 and 37)."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.contract.never_again.worlds import (
    KINDS,
    World,
    records,
    seed,
    until,
    workers_of,
    world_of,
)

from ourvidz_worker.testing.pod_process import PodProcess
from ourvidz_worker.testing.supabase.payloads import Payload, text_to_image, video

pytestmark = pytest.mark.e2e

CARD = {
    "OURVIDZ_DEVICE_MEMORY_GB": "48",
    "OURVIDZ_FAKE_OPTIONS": '{"steps_s": 0.03, "load_s": 1.0}',
}
"""The reference card: image and chat fit together, the clip's 30 GB do not fit beside them."""

AT_ONCE_S = 1.0
"""Far above what `/health` takes (its own figure is a bench's), far below what it must not wait
for: the load of a model, or a job."""

ASKED = 10
STEPS: Payload = {"num_inference_steps": 60, "sample_steps": 60}
SHORT: Payload = {"num_inference_steps": 2, "sample_steps": 2}


@pytest.fixture(scope="module", params=KINDS)
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, PodProcess]]:
    """Each of the two worlds with a pod on a simulated card, image and chat resident."""
    with (
        world_of(request.param, tmp_path_factory.mktemp("device")) as world,
        world.running(**CARD) as pod,
    ):
        until(lambda: is_up(pod))
        yield world, pod


def moves(pod: PodProcess) -> list[tuple[str, str, str]]:
    """Event, lane and reason of every move so far."""
    return [(one["move"], one["lane"], one["why"]) for one in records(pod, "memory_moved")]


def test_37_room_is_made_for_a_clip_and_the_picture_model_stays(
    started: tuple[World, PodProcess],
) -> None:
    """M-2, M-3: sdxl and chat are resident, a WAN job arrives; chat leaves, the job completes."""
    world, pod = started
    with world.http(pod) as client:
        status = client.get("/memory/status").json()
        names = ("sdxl_worker", "chat_worker", "wan_worker")
        assert [status["workers"][name] for name in names] == ["loaded", "loaded", "unloaded"]
        assert status["available_vram"] < 30
        job = world.hand_in(video(seed(config=SHORT)))
        end = world.end_of(job).body
        assert end["status"] == "completed", end
        assert world.statuses(job) == ["processing", "completed"]
        told = moves(pod)
        assert told.index(("evict", "chat", "room")) < told.index(("load", "video", "demand"))
        assert "image" not in [lane for move, lane, _ in told if move == "evict"]
        until(lambda: ("load", "chat", "restored") in moves(pod))
        picture = world.hand_in(text_to_image(seed(config=SHORT)))
        assert world.end_of(picture).body["status"] == "completed"


def answers_at_once(client: httpx.Client, busy: "Future[Any]") -> int:
    """Ask for health while something goes on; how often, each of them answered at once."""
    asked = 0
    while not busy.done():
        begun = time.monotonic()  # noqa: TID251 - a real answer's real time
        reply = client.get("/health")
        assert time.monotonic() - begun < AT_ONCE_S  # noqa: TID251
        assert reply.status_code == 200
        assert reply.json()["endpoints"]
        asked += 1
    return asked


def test_34_health_answers_while_a_model_loads_and_while_pictures_are_made(
    started: tuple[World, PodProcess],
) -> None:
    """H-10: on both ports, from a snapshot, whatever the engines do."""
    world, pod = started
    with world.http(pod) as client, world.http(pod) as watcher, ThreadPoolExecutor(1) as pool:
        chat_url = f"http://127.0.0.1:{pod.chat_port}"
        with httpx.Client(base_url=chat_url, trust_env=False) as other:
            away = {"operation": "force_unload", "target_worker": "wan"}
            assert client.post("/emergency/operation", json=away).status_code == 200
            order = {"which": "wan", "force": True}
            loading = pool.submit(client.post, "/memory/load", json=order)
            assert answers_at_once(watcher, loading) >= ASKED
            assert loading.result().status_code == 200
            job = world.hand_in(text_to_image(seed(config=STEPS)))
            until(lambda: world.statuses(job))
            sampling = pool.submit(world.end_of, job)
            assert answers_at_once(other, sampling) >= ASKED
            assert sampling.result().body["status"] == "completed"


def test_34_health_says_starting_before_a_model_is_there(tmp_path: Path) -> None:
    """H-12: the server listens before models load, and says so."""
    settings = {"OURVIDZ_LANES": "chat", "OURVIDZ_FAKE_OPTIONS": '{"load_s": 2.0}'}
    with world_of("embedded", tmp_path) as world, world.pod(**settings) as pod:
        first = until(lambda: health_of(pod))
        assert (first.status_code, first.json()["status"]) == (200, "starting")
        assert (first.json()["ready"], first.json()["model_loaded"]) == (False, False)
        until(lambda: is_up(pod))


@pytest.mark.parametrize("how", ["cannot load", "killed"])
def test_34_health_is_503_when_the_engine_is_dead(tmp_path: Path, how: str) -> None:
    """H-12: `unhealthy`, not ready, at once; it is the engine that is dead, not the pod."""
    fails = '{"fail_load": true}' if how == "cannot load" else '{"load_s": 1.0}'
    settings = {"OURVIDZ_LANES": "chat", "OURVIDZ_FAKE_OPTIONS": fails}
    with world_of("embedded", tmp_path) as world, world.pod(**settings) as pod:
        until(lambda: health_of(pod))
        if how != "cannot load":
            until(lambda: is_up(pod))
            kill_all(pod)
        dead = until(lambda: (reply := health_of(pod)) and reply.status_code == 503 and reply)
        assert dead.json()["status"] == "unhealthy"
        assert (dead.json()["ready"], dead.json()["model_loaded"]) == (False, False)
        assert pod.is_alive()


def kill_all(pod: PodProcess) -> None:
    """SIGKILL every worker that there is now."""
    for worker in workers_of(pod):
        worker.kill()


def is_up(pod: PodProcess) -> bool:
    """True once the chat model can serve."""
    reply = health_of(pod)
    return reply is not None and bool(reply.json()["ready"])


def health_of(pod: PodProcess) -> httpx.Response | None:
    """What the chat port says; None while nobody listens."""
    try:
        return httpx.get(f"http://127.0.0.1:{pod.chat_port}/health", trust_env=False)
    except httpx.TransportError:
        return None
