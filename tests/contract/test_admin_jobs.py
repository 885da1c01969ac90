"""Questions about a pod, asked of real pods whose chat model is not there (J-2)."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from tests.contract.never_again.worlds import (
    KINDS,
    PATIENCE_S,
    USER,
    World,
    until,
    workers_of,
    world_of,
)

from ourvidz_worker.testing.pod_process import PodProcess

pytestmark = pytest.mark.e2e

FAILS = '{"fail_load": true}'


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with world_of(request.param, tmp_path) as world:
        yield world


def ask(world: World) -> dict[str, object]:
    """The metadata of the answer to a question that is handed in now."""
    payload = {
        "id": f"question-{uuid4()}",
        "type": "admin_utilities",
        "user_id": USER,
        "prompt": "",
        "config": {"operation": "health"},
        "metadata": {},
    }
    body = world.end_of(world.hand_in(payload)).body
    assert body["status"] == "completed", body
    metadata: dict[str, object] = body["metadata"]
    return metadata


def health(pod: PodProcess) -> dict[str, object] | None:
    """What the pod says of itself, once it does."""
    try:
        reply = httpx.get(f"{pod.url}/health", timeout=PATIENCE_S, trust_env=False)
    except httpx.TransportError:
        return None
    told: dict[str, object] = reply.json()
    return told


def test_a_pod_that_serves_no_chat_answers(world: World) -> None:
    """J-2: in less than a second, and without a chat worker."""
    with world.pod(OURVIDZ_LANES="image") as pod:
        until(lambda: (told := health(pod)) and told["ready"])
        metadata = ask(world)
        assert isinstance(metadata["result"], dict)
        assert float(str(metadata["processing_time"])) < 1.0
        assert workers_of(pod, "chat") == []


def test_a_pod_whose_chat_cannot_load_answers(world: World) -> None:
    """J-2, Q-8: its breaker is none of a question's business."""
    with world.pod(OURVIDZ_LANES="chat", OURVIDZ_FAKE_OPTIONS=FAILS) as pod:
        until(lambda: (told := health(pod)) and told["status"] == "unhealthy")
        assert isinstance(ask(world)["result"], dict)


def test_an_unloaded_chat_stays_away(world: World) -> None:
    """J-2: it is not brought back for a question."""
    with world.running() as pod, world.http(pod) as client:
        reply = client.post("/memory/unload", json={"which": "chat"})
        assert reply.status_code == 200, reply.text
        until(lambda: workers_of(pod, "chat") == [])
        for _ in range(3):
            assert isinstance(ask(world)["result"], dict)
        assert workers_of(pod, "chat") == []
