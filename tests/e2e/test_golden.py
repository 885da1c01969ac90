"""The jobs of both revisions of the application, through a real Redis, on the pocket models.

Rows, objects, assets and callbacks are looked at where the application has them (Q-1, Q-20, 3.4,
3.5, 4.1, 5, 6, 7).
"""

import io
from collections.abc import Callable, Iterator
from typing import get_args

import av
import pytest
from PIL import Image
from tests.e2e.waiting import until

from ourvidz_worker.testing.deployment import Deployment, deployment
from ourvidz_worker.testing.supabase import ENCODINGS, Keys
from ourvidz_worker.testing.supabase.payloads import (
    Payload,
    Seed,
    VideoMode,
    api_copy,
    modify,
    text_to_image,
    ui_copy,
    video,
)
from ourvidz_worker.testing.supabase.state import Revision

pytestmark = pytest.mark.e2e

USER = "7f9c24e8-3b12-4fef-91e0-56a2d5a9c001"
PROMPT = "a red apple on a blue background"
PATIENCE_S = 120.0
FEW_STEPS = {"sample_steps": 3}
"""Clips of the client's own 25 steps would take a minute each on two cores."""

BUCKET = "workspace-temp"


@pytest.fixture(scope="module", params=get_args(Revision))
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """One revision of the application, and a pod on the pocket models that serves it."""
    revision: Revision = request.param
    folder = tmp_path_factory.mktemp(revision)
    with deployment(folder, keys=Keys(revision=revision)) as made, made.pod("pod", "--pocket"):
        yield made


@pytest.fixture(scope="module")
def reference(world: Deployment) -> str:
    """A signed picture of the user's: the left half red, the right half green."""
    picture = Image.new("RGB", (256, 256), (200, 40, 40))
    picture.paste((40, 160, 60), (128, 0, 256, 256))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return world.application.reference(USER, file.getvalue())


def seed_of(world: Deployment, name: str, config: Payload | None = None) -> Seed:
    """What the job `name` of this revision's client begins with."""
    revision = world.keys.revision
    return Seed(
        job_id=f"{revision}-{name}",
        user_id=USER,
        revision=revision,
        prompt=PROMPT,
        config=config or {},
    )


def finished(world: Deployment, job_id: str) -> list[Payload]:
    """The job's callbacks, once its end was told and taken."""
    told: list[Payload] = []

    def ended() -> bool:
        told[:] = world.application.callbacks(job_id, answered=True)
        return any(body["status"] in {"completed", "failed"} for body in told)

    until(ended, PATIENCE_S)
    return told


def completed(world: Deployment, job_id: str) -> Payload:
    """The job's last callback; it completed, and all that the application holds agrees."""
    begun, ended = finished(world, job_id)
    assert (begun["status"], ended["status"]) == ("processing", "completed")
    assert begun["assets"] == []
    assert world.application.row(job_id)["status"] == "completed"
    assets = world.application.assets(job_id)
    assert [asset["temp_storage_path"] for asset in assets] == [
        asset["url"] for asset in ended["assets"]
    ]
    assert [asset["asset_index"] for asset in assets] == list(range(len(assets)))
    stored = {name for name in world.application.objects() if f"/{job_id}/" in name}
    named = {asset[key] for asset in ended["assets"] for key in ("url", "thumbnail_url")}
    assert stored == {f"{BUCKET}/{name}" for name in named}
    return ended


def picture_of(world: Deployment, asset: Payload) -> Image.Image:
    """The asset's file, decoded; it is what its metadata says."""
    data = world.application.object(f"{BUCKET}/{asset['url']}")
    picture = Image.open(io.BytesIO(data))
    picture.load()
    facts = asset["metadata"]
    assert (picture.format, picture.size) == ("PNG", (facts["width"], facts["height"]))
    assert facts["file_size_bytes"] == len(data)
    return picture


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_of_an_element(world: Deployment, encoding: str) -> None:
    payload = text_to_image(seed_of(world, encoding, config={"num_inference_steps": 4}))
    job_id = world.application.submit(payload, encode=ENCODINGS[encoding])
    (asset,) = completed(world, job_id)["assets"]
    assert picture_of(world, asset).size == (128, 128)


def test_three_pictures_of_one_job(world: Deployment) -> None:
    job_id = world.application.submit(text_to_image(seed_of(world, "three"), images=3))
    ended = completed(world, job_id)
    assert len(ended["assets"]) == 3
    seeds = [asset["metadata"]["seed"] for asset in ended["assets"]]
    assert seeds == list(range(seeds[0], seeds[0] + 3))
    pictures = [picture_of(world, asset).tobytes() for asset in ended["assets"]]
    assert len(set(pictures)) == 3
    assert {asset["metadata"]["pipeline"] for asset in ended["assets"]} == {"txt2img"}
    assert "denoise_strength" not in ended["assets"][0]["metadata"]


def test_modify_keeps_what_the_client_gave(world: Deployment, reference: str) -> None:
    job_id = world.application.submit(modify(seed_of(world, "modify"), reference))
    ended = completed(world, job_id)
    facts = ended["assets"][0]["metadata"]
    assert (facts["pipeline"], facts["denoise_strength"]) == ("img2img", 0.35)
    assert (ended["metadata"]["reference_mode"], ended["metadata"]["exact_copy_mode"]) == (
        "modify",
        False,
    )
    picture_of(world, ended["assets"][0])


@pytest.mark.parametrize(("name", "build"), [("ui-copy", ui_copy), ("api-copy", api_copy)])
def test_both_kinds_of_copy_are_copies(
    world: Deployment, reference: str, name: str, build: Callable[[Seed, str], Payload]
) -> None:
    job_id = world.application.submit(build(seed_of(world, name), reference))
    ended = completed(world, job_id)
    metadata, facts = ended["metadata"], ended["assets"][0]["metadata"]
    assert (metadata["reference_mode"], metadata["exact_copy_mode"]) == ("copy", True)
    assert (facts["denoise_strength"], facts["guidance_scale"]) == (0.05, 1.0)
    assert facts["effective_steps"] >= 1
    picture = picture_of(world, ended["assets"][0]).convert("RGB")
    width, height = picture.size
    left = picture.getpixel((width // 4, height // 2))
    right = picture.getpixel((3 * width // 4, height // 2))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > left[1]
    assert right[1] > right[0]
    if name == "api-copy":
        assert world.application.row(job_id)["original_prompt"] == "exact copy"


@pytest.mark.parametrize("mode", get_args(VideoMode))
def test_a_clip_in_every_reference_mode(world: Deployment, reference: str, mode: VideoMode) -> None:
    seed = seed_of(world, f"video-{mode}", config=FEW_STEPS)
    payload = video(seed, mode, first=reference, last=reference, image=reference)
    ended = completed(world, world.application.submit(payload))
    (asset,) = ended["assets"]
    facts, metadata = asset["metadata"], ended["metadata"]
    assert metadata["reference_mode"] == mode
    assert facts["pipeline"] == ("txt2video" if mode == "none" else "img2video")
    assert (facts["guidance_scale"], facts["steps"]) == (6.5, 3)
    assert metadata["requested_frame_num"] == 83
    data = world.application.object(f"{BUCKET}/{asset['url']}")
    with av.open(io.BytesIO(data), "r") as clip:
        stream = clip.streams.video[0]
        frames = list(clip.decode(stream))
    assert (len(frames), stream.codec_context.name) == (facts["frame_num"], "h264")
    assert (frames[0].width, frames[0].height) == (facts["width"], facts["height"])


def test_jobs_of_one_user_end_in_the_order_of_their_push(world: Deployment) -> None:
    jobs = [
        world.application.submit(
            text_to_image(seed_of(world, f"order-{n}", config={"num_inference_steps": 4}))
        )
        for n in range(4)
    ]
    for job_id in jobs:
        finished(world, job_id)
    told = world.application.callbacks(answered=True)
    ends = [body["job_id"] for body in told if body["status"] == "completed"]
    assert [job_id for job_id in ends if job_id in jobs] == jobs


def test_the_application_has_nothing_to_complain_of(world: Deployment) -> None:
    assert world.application.complaints() == []
    with world.redis.client() as client:
        lists = ("sdxl_queue", "wan_queue", "chat_queue")
        assert [client.llen(name) for name in lists] == [0, 0, 0]
        assert [client.llen(f"{name}:dead") for name in lists] == [0, 0, 0]
