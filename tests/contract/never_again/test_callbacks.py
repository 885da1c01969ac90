"""Callbacks: signed, in order, and once for each end (lines 8 and 10)."""

import hashlib
import hmac
import json
from collections.abc import Iterator

import pytest
from tests.contract.never_again.worlds import (
    KINDS,
    SECRET,
    USER,
    Deployed,
    World,
    seed,
    until,
    world_of,
)

from ourvidz_worker.testing.supabase import digest
from ourvidz_worker.testing.supabase.payloads import Payload, chat, text_to_image, video

pytestmark = pytest.mark.e2e

SHORT: Payload = {"num_inference_steps": 1, "sample_steps": 1}


@pytest.fixture(scope="module", params=KINDS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Each of the two worlds with a pod that is ready."""
    with world_of(request.param, tmp_path_factory.mktemp("callbacks")) as made, made.running():
        yield made


def awkward_jobs() -> list[Payload]:
    """One of each kind, some of which must fail; their prompts are hard to encode."""
    prompt = 'caf\u00e9 \U0001f600 "\\" \u2028'
    broken = {"reference_image_url": f"user-library/{USER}/none.png"}
    return [
        text_to_image(seed(prompt=prompt, config=SHORT), images=3),
        video(seed(prompt=prompt, config=SHORT)),
        chat(seed(prompt=prompt)),
        text_to_image(seed(prompt=prompt, metadata=broken)),
    ]


def test_08_callbacks_carry_their_keys_and_the_signature_of_their_very_bytes(world: World) -> None:
    """7.1: of every status, over the exact bytes that came in."""
    secret = world.world.keys.callback_secret if isinstance(world, Deployed) else SECRET
    for payload in awkward_jobs():
        job = world.hand_in(payload)
        world.end_of(job)
        told = world.told(job)
        assert told
        for callback in told:
            headers, status = callback.headers, callback.body["status"]
            mac = hmac.new(secret.encode(), callback.raw, hashlib.sha256).hexdigest()
            assert headers["x-callback-signature"] == f"sha256={mac}"
            assert headers["content-type"] == "application/json"
            assert headers["idempotency-key"] == f"{job}:{status}"
            if isinstance(world, Deployed):
                service = world.world.keys.service
                assert headers["authorization"] == digest(f"Bearer {service}")
                assert headers["apikey"] == digest(service)
            else:
                assert not {"authorization", "apikey"} & headers.keys(), "there is no such key"


def test_10_every_job_is_told_once_of_its_work_and_once_of_its_end(world: World) -> None:
    """K-10, Q-31: in that order, whatever the end."""
    jobs = [world.hand_in(payload) for payload in awkward_jobs()]
    jobs += [world.hand_in(payload) for payload in awkward_jobs()]
    ends = [world.end_of(job).body["status"] for job in jobs]
    assert ends == ["completed", "completed", "completed", "failed"] * 2
    after = world.hand_in(text_to_image(seed(config=SHORT)))
    world.end_of(after)
    for job, end in zip(jobs, ends, strict=True):
        began = [] if end == "failed" else ["processing"]
        assert world.statuses(job) == [*began, end]


def test_10_an_answer_that_was_lost_repeats_the_same_bytes(world: World) -> None:
    """K-10, K-12: what was taken and not known to be comes again, never another end."""
    world.lose_answers(4)
    job = world.hand_in(text_to_image(seed(config=SHORT)))
    until(lambda: len(world.callback_tries(job)) == 5)
    world.end_of(world.hand_in(text_to_image(seed(config=SHORT))))
    bodies = world.callback_tries(job)
    assert [json.loads(body)["status"] for body in bodies] == ["processing"] * 3 + ["completed"] * 2
    assert len(set(bodies)) == 2
    if isinstance(world, Deployed):
        assert len(world.application.assets(job)) == 1
