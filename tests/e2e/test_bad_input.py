"""Bad input: the contract's error, the field's name, and the lane goes on."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.pods import FAKE, Pod

from ourvidz_worker.client import Client, JobFailed

pytestmark = pytest.mark.e2e

GOOD = {"type": "sdxl_image_fast", "user_id": "u", "prompt": "a red apple"}


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """One quick pod for all of them."""
    made = Pod(tmp_path_factory.mktemp("bad") / "state", **FAKE)
    made.start()
    yield made
    made.close()


@pytest.fixture
def http(pod: Pod) -> Iterator[httpx.Client]:
    """Bare HTTP with the pod's key."""
    key = (pod.state / "admin.key").read_text().strip()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{pod.port}", headers=headers) as client:
        yield client


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"prompt": 7}, "INVALID_REQUEST", "prompt"),
        ({"prompt": ""}, "INVALID_PROMPT", "prompt"),
        ({"prompt": None}, "INVALID_REQUEST", "prompt"),
        ({"type": "sdxl_image_slow"}, "INVALID_REQUEST", "type"),
        ({"type": None}, "INVALID_REQUEST", "type"),
        ({"user_id": "../x"}, "INVALID_REQUEST", "user_id"),
        ({"config": {"steps": 0}}, "INVALID_REQUEST", "config.steps"),
        ({"config": {"steps": "many"}}, "INVALID_REQUEST", "config.steps"),
        ({"config": {"steps": True}}, "INVALID_REQUEST", "config.steps"),
        ({"config": {"num_images": 7}}, "INVALID_REQUEST", "config.num_images"),
        ({"config": {"seed": -2}}, "INVALID_REQUEST", "config.seed"),
        ({"config": []}, "INVALID_REQUEST", "config"),
        ({"type": "video_fast", "config": {"frame_num": 4}}, "INVALID_REQUEST", "config.frame_num"),
    ],
)
def test_a_wrong_field_is_named(
    http: httpx.Client, change: dict[str, object], code: str, field: str
) -> None:
    reply = http.post("/v1/jobs", json=GOOD | change)
    assert reply.status_code in {400, 422}
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert (problem["code"], problem["field"], problem["success"]) == (code, field, False)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (
            b'{"type": "sdxl_image_fast", "user_id": "u", "prompt": "a", "config": {"cfg": NaN}}',
            400,
        ),
        (b"{", 400),
        (b"[]", 400),
        (b'"\xff"', 400),
        (b"[" * 100_000, 400),
        (b'{"prompt": "' + b"a" * (5 << 20) + b'"}', 413),
    ],
)
def test_a_body_that_is_no_job_is_refused(http: httpx.Client, body: bytes, status: int) -> None:
    reply = http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == status
    assert reply.json()["success"] is False


def test_an_unknown_key_is_tolerated_and_listed(pod: Pod) -> None:
    with pod.client() as client:
        job = client.submit_job(GOOD | {"config": {"moon_phase": 3}, "whatever": 1})
        done = client.wait(job.job_id)
    assert done.status == "completed"
    assert "moon_phase" in str(done.metadata["ignored_fields"])


@pytest.mark.parametrize("picture", [b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 64])
def test_a_corrupt_reference_is_refused_at_the_door(http: httpx.Client, picture: bytes) -> None:
    reply = http.post(
        "/v1/references",
        params={"user_id": "u"},
        content=picture,
        headers={"Content-Type": "image/png"},
    )
    assert reply.status_code == 422
    assert reply.json()["code"] == "REFERENCE_FRAME_ERROR"


def test_a_reference_that_is_not_there_fails_its_job_alone(pod: Pod) -> None:
    with pod.client() as client:
        bad = client.submit_job(
            GOOD | {"metadata": {"reference_image_url": "user-library/u/none.png"}}
        )
        good = client.submit_job(GOOD)
        with pytest.raises(JobFailed):
            client.wait(bad.job_id)
        failed, done = client.job(bad.job_id), client.wait(good.job_id)
    assert (failed.status, done.status) == ("failed", "completed")
    assert failed.error is not None
    assert failed.error.code == "REFERENCE_FRAME_ERROR"
    assert failed.metadata["error_reason"] == "REFERENCE_NOT_FOUND"


def test_a_missing_model_folder_and_a_port_in_use_stop_the_start_and_are_named(
    tmp_path: Path, pod: Pod
) -> None:
    for settings, name in (
        ({"SDXL_MODEL_PATH": "/no/such/folder"}, "SDXL_MODEL_PATH"),
        (FAKE | {"WORKER_PORT": str(pod.port)}, "WORKER_PORT"),
        (FAKE | {"LEASE_TTL_S": "soon"}, "LEASE_TTL_S"),
        (FAKE | {"OURVIDZ_COLOUR": "blue"}, "OURVIDZ_COLOUR"),
        (FAKE | {"STATE_DIR": str(pod.state)}, "STATE_DIR"),
    ):
        run = subprocess.run(
            [sys.executable, "-m", "ourvidz_worker", "up"],
            env={"PATH": "/usr/bin", "STATE_DIR": str(tmp_path / "other"), "CHAT_WORKER_PORT": "0"}
            | settings,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == 1
        assert name in run.stderr
        assert "Traceback" not in run.stderr


def test_the_other_port_serves_the_same(pod: Pod) -> None:
    key = (pod.state / "admin.key").read_text().strip()
    with Client(url=f"http://127.0.0.1:{pod.chat_port}", key=key) as client:
        assert client.wait(client.submit_job(GOOD).job_id).status == "completed"
