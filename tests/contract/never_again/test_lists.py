"""What is pushed is done: encodings, order, and jobs that cannot be (lines 2, 3, 4, 6 and 7)."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from tests.contract.never_again.worlds import KINDS, Deployed, World, seed, until, world_of

from ourvidz_worker.testing.supabase import ENCODINGS, list_of
from ourvidz_worker.testing.supabase.payloads import Payload, chat, text_to_image, video

pytestmark = pytest.mark.e2e

BUILDERS: dict[str, Callable[..., Payload]] = {"image": text_to_image, "video": video, "chat": chat}

GARBAGE = (
    b"",
    b"\xff\xfe\x00",
    b"not json {",
    b"null",
    b"7",
    b"[]",
    b'{"data":null}',
    b"[" * 2_000,
)
"""Elements that are no job (Q-20, Q-21)."""

STALL_S = 0.4
"""Less than any pause that a bad job could cost."""

beside = pytest.mark.parametrize("world", ["deployed"], indirect=True)
"""A pod by itself has no lists."""


@pytest.fixture(scope="module", params=KINDS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Each of the two worlds with a pod that is ready."""
    with world_of(request.param, tmp_path_factory.mktemp("lists")) as made, made.running():
        yield made


def letters_of(client: redis.Redis, name: str) -> list[dict[str, Any]]:
    """The dead letters of a list."""
    found: list[bytes] = client.lrange(f"{name}:dead", 0, -1)  # type: ignore[assignment] # sync
    return [json.loads(each) for each in found]


@beside
def test_02_what_the_application_pushes_today_runs_from_end_to_end(world: Deployed) -> None:
    """Q-20: an array that holds one string; the row, the asset and the file are there."""
    payload = text_to_image(seed(seed=7))
    with world.world.redis.client() as client:
        client.delete("sdxl_queue:dead")
        job = world.hand_in(payload)
        assert world.end_of(job).body["status"] == "completed"
        assert client.llen("sdxl_queue") == 0
        assert letters_of(client, "sdxl_queue") == []
    (asset,) = world.application.assets(job)
    assert asset["generation_seed"] == 7
    assert (asset["asset_type"], asset["mime_type"]) == ("image", "image/png")
    assert asset["temp_storage_path"] in world.files(job)
    assert asset["thumbnail_path"] in world.files(job)
    assert world.application.row(job)["status"] == "completed"
    assert world.application.complaints() == []


@beside
@pytest.mark.parametrize("name", list(ENCODINGS))
def test_03_every_encoding_of_an_element_is_understood(world: Deployed, name: str) -> None:
    """Q-20: on every list, with a prompt of every awkward character; the jobs complete."""
    prompt, jobs = 'a "fox" \\ über 北京\n😀', {}
    for lane, build in BUILDERS.items():
        payload = build(seed(prompt=prompt, config={"sample_steps": 1}))
        jobs[lane] = world.application.submit(payload, encode=ENCODINGS[name])
    for lane, job in jobs.items():
        end = world.end_of(job).body
        assert end["status"] == "completed", end
        if lane != "chat":
            assert end["metadata"]["final_prompt"] == prompt


@beside
@pytest.mark.parametrize("lane", list(BUILDERS))
def test_03_garbage_is_buried_and_the_lane_goes_on(world: Deployed, lane: str) -> None:
    """Q-21: a letter for each with its raw bytes; a job behind them is done."""
    payload = BUILDERS[lane](seed())
    name = list_of(str(payload["job_type"]))
    two = json.dumps([json.dumps(payload | {"id": f"{lane}-{number}"}) for number in "12"])
    garbage = [*GARBAGE, two.encode()]
    with world.world.redis.client() as client:
        client.delete(f"{name}:dead")
        client.rpush(name, *garbage)
        job = world.hand_in(payload)
        assert world.end_of(job).body["status"] == "completed"
        letters = until(lambda: len(found := letters_of(client, name)) == len(garbage) and found)
        raws = {letter["raw"].encode("utf-8", "surrogateescape") for letter in letters}
        assert raws == set(garbage)
        for letter in letters:
            assert letter["code"] == "INVALID_REQUEST"
            assert {"raw", "reason", "job_id", "attempts", "worker_id", "at"} <= letter.keys()
        assert client.llen(name) == 0


@beside
def test_03_garbage_that_names_a_job_fails_that_job(world: Deployed) -> None:
    """Q-21: an id that can be found in what cannot be decoded is told of."""
    payload = text_to_image(seed())
    job = str(payload["id"])
    world.application.insert(payload, "sdxl_image_fast")
    with world.world.redis.client() as client:
        client.delete("sdxl_queue:dead")
        client.rpush("sdxl_queue", b'{"id":"%s","type":"sdxl_image_fast","prompt":' % job.encode())
        end = world.end_of(job).body
        (letter,) = letters_of(client, "sdxl_queue")
    assert (end["status"], end["metadata"]["error_code"]) == ("failed", "INVALID_REQUEST")
    assert letter["job_id"] == job
    assert world.application.row(job)["status"] == "failed"


@pytest.mark.parametrize("lane", list(BUILDERS))
def test_04_three_jobs_finish_in_the_order_they_came(world: World, lane: str) -> None:
    """Q-1: RPUSH, so first in, first out, though the first one takes the longest."""
    jobs = []
    for steps in (40, 15, 15):
        config: Payload = {"num_inference_steps": steps, "sample_steps": steps, "steps": steps}
        payload = BUILDERS[lane](seed(config=config | {"max_tokens": steps}))
        jobs.append(world.hand_in(payload))
    ends = {job: world.end_of(job) for job in jobs}
    assert [end.body["status"] for end in ends.values()] == ["completed"] * 3
    assert sorted(jobs, key=lambda job: ends[job].at) == jobs


@pytest.mark.parametrize("lane", list(BUILDERS))
def test_06_config_and_metadata_of_null_are_as_if_absent(world: World, lane: str) -> None:
    """3.3, Q-31: they end in one terminal callback, as the same job without them does."""
    payload = BUILDERS[lane](seed(config={"steps": 1})) | {"metadata": None}
    if lane != "video":  # a clip without any config takes its full 25 steps
        payload["config"] = None
    job = world.hand_in(payload)
    assert world.end_of(job).body["status"] == "completed"
    assert world.statuses(job) == ["processing", "completed"]


GONE = object()

WRONG: dict[str, dict[str, Any]] = {
    "no prompt": {"prompt": GONE},
    "null prompt": {"prompt": None},
    "number prompt": {"prompt": 7},
    "array prompt": {"prompt": ["a fox"]},
    "nulls and no prompt": {"prompt": GONE, "config": None, "metadata": None},
    "array config": {"config": []},
    "number config": {"config": 3},
    "string config": {"config": "not an object"},
    "array metadata": {"metadata": [1]},
    "text steps": {"config": {"num_inference_steps": "many", "sample_steps": "many"}},
    "boolean steps": {"config": {"num_inference_steps": True, "sample_steps": True}},
    "object seed": {"config": {"seed": {}}},
    "negative prompt": {"negative_prompt": {"a": 1}},
    "no user": {"user_id": GONE, "userId": GONE},
    "number user": {"user_id": 7},
}


@pytest.mark.parametrize("lane", ["image", "video"])
def test_06_a_wrong_field_fails_its_job(world: World, lane: str) -> None:
    """Q-31: each ends in one terminal callback that says so, and a good job after it is done."""
    goods = {case: BUILDERS[lane](seed(config={"steps": 1})) for case in WRONG}
    told = world.refusals_of(
        (good, {key: value for key, value in (good | WRONG[case]).items() if value is not GONE})
        for case, good in goods.items()
    )
    for case, refusal in zip(WRONG, told, strict=True):
        assert refusal["code"] in {"INVALID_REQUEST", "INVALID_PROMPT"}, case
        assert 0 < len(refusal["sentence"]) <= 200, case
    after = BUILDERS[lane](seed())
    assert world.end_of(world.hand_in(after)).body["status"] == "completed"
    if isinstance(world, Deployed):
        statuses = world.application.statuses()
        for case, good in goods.items():
            assert world.statuses(str(good["id"])) == ["failed"], case
            assert statuses[str(good["id"])] == "failed", case


@pytest.mark.parametrize("kind", ["sdxl_image_slow", "image_video_fast", "video_fastest", "", 7])
def test_07_an_unknown_type_fails_and_delays_nobody(world: World, kind: object) -> None:
    """Q-11: several of them ahead of a good job cost it no pause."""
    goods = [text_to_image(seed()) for _ in range(5)]
    bads = [good | {"type": kind, "job_type": kind} for good in goods]
    if not isinstance(world, Deployed):
        refusals = world.refusals_of(zip(goods, bads, strict=True))
        assert [refusal["code"] for refusal in refusals] == ["INVALID_REQUEST"] * len(goods)
        return
    after = text_to_image(seed(config={"num_inference_steps": 1}))
    after["type"] = after["job_type"] = "sdxl_image_fast"
    for good in goods:
        world.application.insert(good, "sdxl_image_fast")
    world.application.insert(after, "sdxl_image_fast")
    name = list_of(str(kind))
    elements = [ENCODINGS["as_array_of_string"](each) for each in (*bads, after)]
    with world.world.redis.client() as client:
        client.rpush(name, *elements)
    end = world.end_of(str(after["id"]))
    assert end.body["status"] == "completed"
    failed = [world.end_of(str(good["id"])) for good in goods]
    for told in failed:
        assert told.body["status"] == "failed"
        assert told.body["metadata"]["error_code"] == "INVALID_REQUEST"
    begun = world.told(str(after["id"]))[0]
    assert begun.at - failed[0].at < len(failed) * STALL_S
    for good in goods:
        assert world.statuses(str(good["id"])) == ["failed"]
