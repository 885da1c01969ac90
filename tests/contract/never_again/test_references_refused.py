"""References that cannot be used, or may not be (lines 18, 19, 20 and 21)."""

from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image
from tests.contract.never_again.engine_pod import engine_pod
from tests.contract.never_again.jobs import picture_job
from tests.contract.never_again.worlds import (
    KINDS,
    USER,
    Deployed,
    World,
    seed,
    world_of,
)

from ourvidz_worker.engines import EngineSettings
from ourvidz_worker.engines.fake import FakeEngine
from ourvidz_worker.references.fetch import UrlFetcher
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.supabase import Fault, digest
from ourvidz_worker.testing.supabase.payloads import Payload, modify, text_to_image, video

pytestmark = pytest.mark.e2e

MAX_BYTES = 20_000
REFUSED = "REFERENCE_FRAME_ERROR"


def picture(size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    """A plain picture as PNG."""
    file = BytesIO()
    Image.new(mode, size, 1).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module", params=KINDS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Each of the two worlds with a pod; `begun` in its folder has a line for each attempt."""
    folder = tmp_path_factory.mktemp("references")
    options = f'{{"steps_s": 0.01, "witness": "{folder / "begun"}"}}'
    settings = {"OURVIDZ_FAKE_OPTIONS": options, "REFERENCE_MAX_BYTES": str(MAX_BYTES)}
    with world_of(request.param, folder) as made, made.running(**settings):
        yield made


beside = pytest.mark.parametrize("world", ["deployed"], indirect=True)
"""A pod by itself has nobody who signs."""


def begun(world: World) -> int:
    """How many attempts have begun."""
    file = world.folder / "begun"
    return len(file.read_bytes().splitlines()) if file.exists() else 0


def check_refused(world: World, jobs: Sequence[tuple[Payload, str]]) -> None:
    """Assert that each job fails for its reason, and that nothing was made in its place."""
    before = begun(world)
    handed = [(world.hand_in(payload), reason) for payload, reason in jobs]
    for job, reason in handed:
        end = world.end_of(job).body
        metadata = end["metadata"]
        assert end["status"] == "failed", end
        assert (metadata["error_code"], metadata["error_reason"]) == (REFUSED, reason), end
        assert (end["assets"], world.files(job)) == ([], [])
    assert begun(world) == before
    after = text_to_image(seed(config={"num_inference_steps": 1}))
    assert world.end_of(world.hand_in(after)).body["status"] == "completed"


def jobs_with(reference: str, **metadata: object) -> list[Payload]:
    """A picture and a clip that go by it."""
    mine = {"metadata": metadata}
    return [
        modify(seed(**mine), reference),
        video(seed(**mine), "start", first=reference),
        video(seed(**mine), "both", first=reference, last=reference),
        video(seed(**mine), "single", image=reference),
    ]


def test_18_a_reference_that_is_not_there_fails_the_job(world: World) -> None:
    """4.3, F-1: never a picture or a clip from the text alone."""
    jobs = jobs_with(f"user-library/{USER}/none.png")
    check_refused(world, [(job, "REFERENCE_NOT_FOUND") for job in jobs])


@beside
def test_18_an_expired_reference_whose_picture_is_gone_fails_the_job(world: Deployed) -> None:
    """R-3, 4.3: neither the signature nor the key gives anything."""
    url = world.application.reference(USER, picture())
    fault = Fault(call="storage.get", status=400, body=GONE, times=None)
    world.application.add_fault(Fault(call="storage.signed", status=400, times=None))
    world.application.add_fault(fault)
    try:
        check_refused(world, [(modify(seed(), url), "REFERENCE_NOT_FOUND")])
    finally:
        world.mend()


GONE = '{"statusCode":"404","error":"not_found","message":"Object not found"}'


@beside
def test_18_an_unreachable_reference_fails_the_job(world: Deployed) -> None:
    """R-2: after three tries."""
    url = world.application.reference(USER, picture())
    world.application.add_fault(Fault(call="storage.signed", how="cut", times=None))
    try:
        check_refused(world, [(modify(seed(), url), "REFERENCE_TIMEOUT")])
    finally:
        world.mend()
    tried = [call for call in world.application.calls("storage.signed") if call.path in url]
    assert len(tried) == 3


def test_18_a_reference_is_only_ever_dropped_aloud(world: World) -> None:
    """F-1, F-3: a job that allows it goes on without, and says so everywhere."""
    payloads = jobs_with(f"user-library/{USER}/none.png", allow_fallback=True)
    jobs = [world.hand_in(payload) for payload in payloads]
    for job, mode in zip(jobs, ("modify", "start", "both", "single"), strict=True):
        end = world.end_of(job).body
        assert end["status"] == "completed", end
        told, (asset,) = end["metadata"], end["assets"]
        assert told["fallback_used"] is True
        assert told["fallback_reason"] == f"{REFUSED}:REFERENCE_NOT_FOUND"
        assert told["fallback_to"] == asset["metadata"]["pipeline"]
        assert told["fallback_to"] == ("txt2img" if mode == "modify" else "txt2video")
        assert (told["reference_mode"], told["requested_reference_mode"]) == ("none", mode)
        assert "denoise_strength" not in asset["metadata"]


@beside
def test_19_a_signed_url_that_has_expired_is_read_with_the_service_key(world: Deployed) -> None:
    """R-3: the signature is refused, the key's own path gives the picture, the job completes."""
    name = f"user-library/{USER}/late.png"
    world.application.upload(name, picture(), "image/png")
    url = world.application.sign(name, seconds=-1.0)
    end = world.end_of(world.hand_in(modify(seed(), url))).body
    assert end["status"] == "completed", end
    assert end["metadata"]["fallback_used"] is False
    assert end["assets"][0]["metadata"]["pipeline"] == "img2img"
    calls = [call for call in world.application.calls() if "late.png" in call.path]
    asked = [(call.name, call.status) for call in calls if call.method == "GET"]
    assert asked == [("storage.signed", 400), ("storage.get", 200)]
    service = world.world.keys.service
    assert calls[-1].headers["authorization"] == digest(f"Bearer {service}")
    assert "authorization" not in calls[-2].headers


@pytest.fixture
def neighbour() -> Iterator[tuple[str, list[str]]]:
    """A server of this machine that gives a picture to whoever asks; and who has asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(picture())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Stay silent."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield str(server.server_port), asked
        server.shutdown()
        thread.join()


ELSEWHERE = (
    "http://169.254.169.254/latest/meta-data/iam.png",
    "https://169.254.169.254/latest/meta-data/iam.png",
    "http://127.0.0.1:{port}/a.png",
    "http://localhost:{port}/a.png",
    "http://[::1]:{port}/a.png",
    "http://2130706433:{port}/a.png",
    "http://0x7f.1:{port}/a.png",
    "https://10.0.0.7/a.png",
    "https://192.168.1.1/a.png",
    "https://[fe80::1]/a.png",
    "https://example.org/a.png",
    "file:///etc/hostname",
    "data:image/png;base64,iVBORw0KGgo=",
)


def test_20_an_address_that_is_not_the_application_s_is_refused(
    world: World, neighbour: tuple[str, list[str]]
) -> None:
    """R-1: nobody is asked."""
    port, asked = neighbour
    jobs = [modify(seed(), url.replace("{port}", port)) for url in ELSEWHERE]
    check_refused(world, [(job, "REFERENCE_URL_BLOCKED") for job in jobs])
    assert asked == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "127.0.0.1",
        "10.1.2.3",
        "172.20.0.1",
        "192.168.0.9",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
    ],
)
async def test_20_an_allowed_name_that_leads_inside_is_refused(
    tmp_path: Path, address: str
) -> None:
    """R-1: what counts is the address that would be dialled, even beside a public one."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14", address]

    urls = UrlFetcher(
        FakeClock(),
        max_bytes=MAX_BYTES,
        jitter=lambda: 0.0,
        allowed_hosts=["pictures.example"],
        resolve=resolve,
    )
    engine = FakeEngine(EngineSettings(options={"witness": str(tmp_path / "begun")}))
    job = picture_job(metadata={"reference_image_url": "https://pictures.example/a.png"})
    async with engine_pod(tmp_path, engine, urls=urls) as pod:
        told = await pod.run(job)
    await urls.close()
    assert told.statuses[-1] == "failed"
    assert told.metadata["error_code"] == REFUSED
    assert told.metadata["error_reason"] == "REFERENCE_URL_BLOCKED"
    assert not (tmp_path / "begun").exists()


@beside
def test_20_a_redirect_is_not_followed(world: Deployed) -> None:
    """R-1: not even to a place that would be allowed."""
    url = world.application.reference(USER, picture())
    elsewhere = world.application.reference(USER, picture())
    headers = {"Location": elsewhere}
    world.application.add_fault(Fault(call="storage.signed", status=302, headers=headers))
    check_refused(world, [(modify(seed(), url), "REFERENCE_URL_BLOCKED")])
    asked = [call.path for call in world.application.calls("storage.signed")]
    assert not [path for path in asked if elsewhere.endswith(path)]


BAD_PICTURES = {
    "many-bytes": (picture() + b"x" * MAX_BYTES, "REFERENCE_TOO_LARGE"),
    "many-pixels": (picture((9_000, 8_000), "1"), "REFERENCE_TOO_LARGE"),
    "page": (b"<html><body>not a picture</body></html>", "REFERENCE_NOT_AN_IMAGE"),
    "drawing": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "REFERENCE_NOT_AN_IMAGE"),
    "cut": (picture()[:60], "REFERENCE_NOT_AN_IMAGE"),
    "nothing": (b"", "REFERENCE_NOT_AN_IMAGE"),
}


@beside
@pytest.mark.parametrize("form", ["signed", "key"])
def test_20_what_is_huge_or_no_picture_is_refused(world: Deployed, form: str) -> None:
    """R-2: by what it holds, whatever its type says."""
    jobs = []
    for case, (data, reason) in BAD_PICTURES.items():
        name = f"user-library/{USER}/{form}-{case}.png"
        world.application.upload(name, data, "image/png")
        reference = world.application.sign(name) if form == "signed" else name
        jobs.append((modify(seed(), reference), reason))
    check_refused(world, jobs)


def test_21_another_user_s_path_is_refused(world: World) -> None:
    """R-4: though the picture is there, and though the job allows to go on without (F-2)."""
    world.keep_picture(picture(), "user-2")
    if isinstance(world, Deployed):
        world.application.upload("user-library/user-2/theirs.png", picture(), "image/png")
    jobs = jobs_with("user-library/user-2/theirs.png", allow_fallback=True)
    check_refused(world, [(job, "REFERENCE_FORBIDDEN") for job in jobs])


THEIRS = (
    "reference_images/user-2/theirs.png",
    "workspace-temp/user-2/job/0.png",
    f"user-library/{USER}/../user-2/theirs.png",
    f"user-library/{USER}%2F..%2Fuser-2/theirs.png",
    "user-library/user-2",
    "user-library/user-11/theirs.png",
)


def test_21_no_form_of_another_user_s_path_helps(world: World) -> None:
    """R-4: whole segments are compared, after decoding once."""
    before = begun(world)
    jobs = [world.hand_in(modify(seed(), path)) for path in THEIRS]
    for job in jobs:
        end = world.end_of(job).body
        assert end["status"] == "failed"
        reasons = {"REFERENCE_FORBIDDEN", "REFERENCE_URL_BLOCKED"}
        assert end["metadata"]["error_reason"] in reasons, end
    assert begun(world) == before


@beside
def test_21_the_service_key_opens_no_other_user_s_expired_url(world: Deployed) -> None:
    """R-3, R-4: the key's way is for the owner alone."""
    name = "user-library/user-2/late.png"
    world.application.upload(name, picture(), "image/png")
    url = world.application.sign(name, seconds=-1.0)
    check_refused(world, [(modify(seed(), url), "REFERENCE_FORBIDDEN")])
    asked = [call.name for call in world.application.calls() if "user-2/late" in call.path]
    assert "storage.get" not in asked


def test_21_one_s_own_path_is_read(world: World) -> None:
    """R-1, R-4: the control of the above: the same form of path, of the job's own user."""
    reference = world.keep_picture(picture())
    end = world.end_of(world.hand_in(modify(seed(), reference))).body
    assert end["status"] == "completed", end
    assert end["assets"][0]["metadata"]["pipeline"] == "img2img"
    assert end["metadata"]["fallback_used"] is False
