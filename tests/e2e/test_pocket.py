"""Every job type on the pocket models, through real processes: files, metadata, events, kills."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from PIL import Image
from tests.e2e.pods import Pod

from ourvidz_worker.client import Client, JobView
from ourvidz_worker.domain.job_types import JOB_TYPES, Media

pytestmark = pytest.mark.e2e

PROMPTS = {
    Media.IMAGE: "a red apple on a blue background",
    Media.VIDEO: "a cat slides right on a green background",
    Media.TEXT: "What is the capital of France?",
}


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod on the pocket models."""
    made = Pod(tmp_path_factory.mktemp("pocket") / "state")
    made.start()
    yield made
    made.close()


@pytest.fixture
def client(pod: Pod) -> Iterator[Client]:
    """A client of that pod."""
    with pod.client() as made:
        yield made


def saved(client: Client, view: JobView, folder: Path) -> list[Path]:
    """The job's main files, downloaded."""
    return [file.path for file in client.save_assets(view, folder) if file.part == "main"]


@pytest.mark.parametrize("name", list(JOB_TYPES))
def test_every_job_type_completes_with_files_that_are_what_they_say(
    client: Client, tmp_path: Path, name: str
) -> None:
    row = JOB_TYPES[name]
    config = {"max_tokens": 24} if row.media is Media.TEXT else {"seed": 7}
    view = client.wait(client.submit(name, PROMPTS[row.media], config=config).job_id)
    assert (view.status, len(view.assets)) == ("completed", 1)
    asset = view.assets[0]
    assert asset.type == row.media.value
    if row.media is Media.TEXT:
        assert asset.text
        return
    (file,) = saved(client, view, tmp_path)
    assert asset.thumbnail_url is not None
    assert (asset.metadata["seed"], asset.metadata["steps"]) == (7, row.steps)
    if row.media is Media.IMAGE:
        with Image.open(file) as picture:
            assert (picture.format, picture.info) == ("PNG", {})
            assert picture.size == (asset.metadata["width"], asset.metadata["height"])
    else:
        with av.open(str(file)) as clip:
            frames = list(clip.decode(video=0))
            assert clip.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert (len(frames), asset.metadata["fps"]) == (asset.metadata["frame_num"], 16)
    assert "native to the model" in str(view.metadata["warnings"])


def test_a_batch_has_its_seeds_and_its_thumbnails(client: Client, tmp_path: Path) -> None:
    job = client.submit(
        "sdxl_image_fast", PROMPTS[Media.IMAGE], config={"num_images": 3, "seed": 0}
    )
    view = client.wait(job.job_id)
    assert [asset.metadata["seed"] for asset in view.assets] == [0, 1, 2]
    pictures = [file.read_bytes() for file in saved(client, view, tmp_path)]
    assert len(set(pictures)) == 3


def test_image_to_image_keeps_to_its_reference(client: Client, tmp_path: Path) -> None:
    made = client.wait(client.submit("sdxl_image_fast", PROMPTS[Media.IMAGE]).job_id)
    (file,) = saved(client, made, tmp_path)
    key = client.keep_reference("user", file.read_bytes())
    distances = []
    for strength in (0.0, 0.3, 0.9):
        job = client.submit(
            "sdxl_image_fast",
            "a green tree on a red background",
            user_id="user",
            config={"denoise_strength": strength, "reference_image_url": key, "seed": 3},
        )
        view = client.wait(job.job_id)
        assert view.assets[0].metadata["pipeline"] == "img2img"
        (result,) = saved(client, view, tmp_path / str(strength))
        distances.append(distance(file, result))
    assert distances[0] == 0.0
    assert distances == sorted(distances)


def distance(one: Path, other: Path) -> float:
    """Mean absolute difference of two pictures, 0..255."""
    left, right = pixels(one), pixels(other)
    return sum(abs(a - b) for a, b in zip(left, right, strict=True)) / len(left)


@pytest.mark.parametrize(
    ("lane", "name"),
    [("image", "sdxl_image_high"), ("video", "video_fast"), ("chat", "chat_conversation")],
)
def test_a_worker_killed_in_the_middle_of_a_real_job(
    pod: Pod, client: Client, lane: str, name: str
) -> None:
    job = client.submit(name, PROMPTS[JOB_TYPES[name].media], config={"max_tokens": 60})
    for event in client.events(job.job_id):
        if event.kind in {"progress", "token"}:
            os.kill(pod.worker(lane).pid, signal.SIGKILL)
            break
    view = client.wait(job.job_id)
    assert (view.status, view.attempts) == ("completed", 2)


def test_chat_answers_and_a_greedy_answer_repeats(client: Client) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answers = {client.chat(messages, temperature=0.0, max_tokens=24).response for _ in range(2)}
    assert len(answers) == 1
    assert "Paris" in answers.pop()


def pixels(file: Path) -> bytes:
    """A picture's bytes, row by row."""
    with Image.open(file) as picture:
        return picture.tobytes()
