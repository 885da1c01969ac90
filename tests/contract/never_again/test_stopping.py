"""Work that nobody waits for any more ends, and lets go of its slot (line 40)."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from tests.contract.never_again.engine_pod import engine_pod
from tests.contract.never_again.jobs import clip_job, picture_job
from tests.e2e.pods import FAKE, Pod
from tests.unit.worker.pod_end import PodEnd
from tests.unit.worker.worker_parts import PICTURE, make_run

from ourvidz_worker.domain.messages import Beat, Failed, Finished, Ready
from ourvidz_worker.engines import Engine

LATE_AT = 3
"""The pass through the network during which the deadline goes by."""

LONG = 2_000
"""Steps of a picture that takes far longer than its deadline."""

TALK = {"messages": [{"role": "user", "content": "tell me of the dunes"}], "seed": 3}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[PodEnd]:
    """A real worker process, 10 ms a step."""
    (tmp_path / "worker").mkdir()
    started = PodEnd(tmp_path / "worker", options={"steps_s": 0.01})
    yield started
    started.end()


def test_40_after_a_time_out_the_worker_s_steps_stand_still(worker: PodEnd, tmp_path: Path) -> None:
    """3.7: the count of steps that each beat tells grows no more, and the next work is done."""
    worker.expect(Ready)
    worker.send(make_run(tmp_path, "late", replace(PICTURE, steps=LONG), deadline_s=0.5))
    end = worker.outcome()
    assert isinstance(end, Failed)
    assert (end.code, end.retryable) == ("TIMEOUT_ERROR", True)
    assert list((tmp_path / "late").iterdir()) == []
    worker.expect(Beat)  # it may have been on its way
    first, second = worker.expect(Beat), worker.expect(Beat)
    assert 0 < first.steps == second.steps < LONG
    worker.send(make_run(tmp_path, "next"))
    assert isinstance(worker.outcome(), Finished)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["sdxl", "wan"])
async def test_40_a_time_out_stops_a_real_engine_at_its_next_step(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """3.7 and T-8: the network is not run once more, nothing is decoded, the job fails."""
    engine: Engine[Any] = request.getfixturevalue(kind)
    loaded = engine._loaded  # type: ignore[attr-defined]
    network = loaded.unet if kind == "sdxl" else loaded.plain
    job = picture_job() if kind == "sdxl" else clip_job()
    job["config"] |= {"num_inference_steps": 20, "sample_steps": 20}
    async with engine_pod(tmp_path, engine) as pod:
        passes: list[int] = []
        forward = network.forward

        def counted(*args: object, **options: object) -> Any:  # noqa: ANN401 - the library's
            passes.append(len(passes))
            if len(passes) == LATE_AT:
                pod.work_clock.jump(10_000)
            return forward(*args, **options)

        monkeypatch.setattr(network, "forward", counted)
        monkeypatch.setattr(type(loaded.vae), "decode", None)
        told = await pod.run(job)
        assert len(passes) == LATE_AT
        assert told.statuses == ["processing", "failed"]
        assert told.metadata["error_code"] == "TIMEOUT_ERROR"
        assert told.end["assets"] == []
        assert pod.files() == []
        assert pod.supervisor.slots.taken == 0
        monkeypatch.undo()
        after = picture_job() if kind == "sdxl" else clip_job()
        await pod.completed(after)


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod that says a word in half a second, and has two for a text."""
    made = Pod(
        tmp_path_factory.mktemp("stopping") / "state",
        OURVIDZ_LANES="chat",
        CHAT_REQUEST_TIMEOUT_S="2",
        OURVIDZ_FAKE_OPTIONS='{"steps_s": 0.5}',
        **FAKE,
    )
    made.start(ready=1)
    yield made
    made.close()


@pytest.fixture
def client(pod: Pod) -> Iterator[httpx.Client]:
    """A client of that pod."""
    with httpx.Client(base_url=f"http://127.0.0.1:{pod.chat_port}", timeout=60) as made:
        yield made


class WorkerLog:
    """Reads the chat worker's log as it is written."""

    def __init__(self, file: Path) -> None:
        self._tail = subprocess.Popen(
            ["tail", "-n", "+1", "-F", str(file)], stdout=subprocess.PIPE, text=True
        )

    def wait_for(self, action: str) -> dict[str, Any]:
        """The next line that tells of `action`."""
        assert self._tail.stdout is not None
        for line in self._tail.stdout:
            told: dict[str, Any] = json.loads(line)
            if told.get("action") == action:
                return told
        raise AssertionError("the log ended")

    def wait_for_end(self, outcome: str) -> None:
        """Wait until the worker has left its attempt, which must have had that outcome."""
        assert self.wait_for("attempt_ended")["outcome"] == outcome

    def close(self) -> None:
        """Stop reading."""
        self._tail.kill()
        self._tail.communicate()


@pytest.fixture(scope="module")
def log(pod: Pod) -> Iterator[WorkerLog]:
    """What the chat worker writes."""
    reading = WorkerLog(pod.state / "logs" / "worker-chat.log")
    yield reading
    reading.close()


def check_free(client: httpx.Client, log: WorkerLog) -> None:
    """Assert that the one slot is free: the next caller is served."""
    reply = client.post("/chat", json=TALK | {"max_tokens": 1})
    assert (reply.status_code, reply.json()["tokens_generated"]) == (200, 1)
    log.wait_for_end("finished")


def test_40_a_text_past_its_deadline_is_stopped_and_told(
    client: httpx.Client, log: WorkerLog
) -> None:
    """T-8: 504, and the worker has left the text."""
    reply = client.post("/chat", json=TALK | {"max_tokens": 500})
    assert (reply.status_code, reply.json()["code"]) == (504, "TIMEOUT_ERROR")
    assert reply.json()["retryable"] is True
    log.wait_for_end("failed")
    check_free(client, log)


def test_40_a_reader_who_leaves_a_stream_frees_its_slot(
    client: httpx.Client, log: WorkerLog
) -> None:
    """T-8: after the first piece the connection is cut."""
    body = TALK | {"max_tokens": 500, "stream": True}
    with client.stream("POST", "/chat", json=body) as reply:
        assert reply.status_code == 200
        assert next(reply.iter_lines())
    log.wait_for_end("stopped")
    check_free(client, log)


def test_40_a_caller_who_hangs_up_frees_its_slot(
    pod: Pod, client: httpx.Client, log: WorkerLog
) -> None:
    """T-8: a caller of a whole reply is cut off while the worker writes."""
    body = json.dumps(TALK | {"max_tokens": 500}).encode()
    head = f"POST /chat HTTP/1.1\r\nHost: pod\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", pod.chat_port), timeout=30) as line:
        line.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        log.wait_for("attempt_started")
    log.wait_for_end("stopped")
    check_free(client, log)
