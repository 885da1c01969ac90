"""What every job object has: identity, type, seed, and what only travels along (contract 3.3)."""

import json

import msgspec
import pytest

from ourvidz_worker.domain.errors import InvalidPrompt, PayloadTooLarge, RequestError
from ourvidz_worker.domain.intake import (
    Intake,
    Limits,
    canonical_fingerprint,
    find_id,
    read_job,
)
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.request import ImageRequest

LIMITS = Limits()


def read(job_id: str | None = None, /, **fields: object) -> Intake:
    job = {"id": "j1", "type": "sdxl_image_fast", "user_id": "u1", "prompt": "a red fox", **fields}
    kept = {name: value for name, value in job.items() if value is not ...}
    return read_job(json.dumps(kept).encode(), limits=LIMITS, job_id=job_id)


def refusal(job_id: str | None = None, /, **fields: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(job_id, **fields)
    return caught.value


def image(**fields: object) -> ImageRequest:
    request = read(**fields).request
    assert isinstance(request, ImageRequest)
    return request


def test_a_plain_job_is_read() -> None:
    intake = read()
    assert (intake.job_id, intake.user_id) == ("j1", "u1")
    assert intake.job_type is JOB_TYPES["sdxl_image_fast"]


@pytest.mark.parametrize("name", ["id", "job_id", "jobId"])
def test_every_name_of_the_id(name: str) -> None:
    assert read(**{"id": ..., name: "j2"}).job_id == "j2"


@pytest.mark.parametrize(
    "value", ["", "a/b", "../x", "a..b", ".a", "x" * 129, "ü", "a\n", 7, True, [], {}]
)
def test_a_wrong_id_or_user_is_named(value: object) -> None:
    assert refusal(id=value).field == "id"
    assert refusal(id=..., jobId=value).field == "jobId"
    assert refusal(user_id=value).field == "user_id"
    assert refusal(user_id=..., userId=value).field == "userId"


@pytest.mark.parametrize("value", [..., None])
def test_missing_identity_is_named(value: object) -> None:
    assert refusal(id=value).field == "id"
    assert refusal(user_id=value).field == "user_id"
    assert refusal(type=value).field == "type"
    assert refusal(prompt=value).field == "prompt"


def test_the_address_names_a_job_that_does_not_name_itself() -> None:
    assert read("j9", id=...).job_id == "j9"
    assert read("j1").job_id == "j1"
    assert refusal("j9").field == "id"
    assert refusal("no/id", id=...).field == "id"


def test_type_wins_over_its_alias() -> None:
    assert read(type="video_fast", job_type="nonsense").job_type.name == "video_fast"
    assert read(type=..., job_type="video_fast").job_type.name == "video_fast"


@pytest.mark.parametrize("name", ["wan_video_fast", "wan_video_high", "wan_image_fast"])
def test_the_historic_prefix_is_dropped(name: str) -> None:
    assert read(type=name).job_type.name == name.removeprefix("wan_")


@pytest.mark.parametrize("value", ["", "sdxl", "wan_", "SDXL_IMAGE_FAST", 1, True, [], {}])
def test_an_unknown_type_is_named_and_not_echoed(value: object) -> None:
    error = refusal(type=value)
    assert (error.code, error.field) == ("INVALID_REQUEST", "type")
    assert error.sentence == "type must be a job type that this worker knows"


@pytest.mark.parametrize(
    "text", ["--help", "  padded ", "a\nb", "🦊", "é", "\x00", "'; --", " ", "x" * 80_000]
)
def test_a_prompt_is_kept_byte_for_byte(text: str) -> None:
    assert image(prompt=text).prompt.encode() == text.encode()


def test_an_empty_prompt_needs_a_reference() -> None:
    with pytest.raises(InvalidPrompt) as caught:
        read(prompt="")
    assert caught.value.field == "prompt"
    assert image(prompt="", metadata={"reference_image_url": "user-library/u1/a.png"}).prompt == ""


@pytest.mark.parametrize("value", [1, True, [], {}])
def test_a_prompt_is_a_text(value: object) -> None:
    assert refusal(prompt=value).field == "prompt"


@pytest.mark.parametrize("names", [("config", "seed"), ("seed",), ("metadata", "seed")])
@pytest.mark.parametrize(
    ("value", "seed"),
    [
        (0, 0),
        ("0", 0),
        (1, 1),
        ("42", 42),
        (42.0, 42),
        (2**53 - 1, 2**53 - 1),
        (-1, None),
        ("-1", None),
        (None, None),
    ],
)
def test_seeds(names: tuple[str, ...], value: object, seed: int | None) -> None:
    given: object = value
    for name in reversed(names[1:]):
        given = {name: given}
    assert image(**{names[0]: given}).seed == seed


@pytest.mark.parametrize("value", [-2, 2**53, 0.5, "x", "", True, [], {}])
def test_a_wrong_seed_is_named(value: object) -> None:
    assert refusal(config={"seed": value}).field == "config.seed"
    assert refusal(seed=value).field == "seed"


def test_the_seed_of_config_wins_even_when_it_is_0() -> None:
    assert image(config={"seed": 0}, seed=7, metadata={"seed": 9}).seed == 0


def test_the_negative_prompt_at_the_top_wins_even_when_it_is_empty() -> None:
    assert image(negative_prompt="", config={"negative_prompt": "x"}).negative_prompt == ""
    assert image(negative_prompt=None, config={"negative_prompt": "x"}).negative_prompt == "x"
    assert image().negative_prompt is None
    assert refusal(negative_prompt=3).field == "negative_prompt"


def test_flags_are_flags() -> None:
    assert image(metadata={"allow_truncation": True}).allow_truncation is True
    assert image(config={"allow_truncation": True}).allow_truncation is True
    assert image().allow_truncation is False
    assert image(metadata={"allow_fallback": False}, allow_fallback=True).allow_fallback is False
    assert image(allow_fallback=True).allow_fallback is True
    assert image().allow_fallback is None
    assert refusal(metadata={"allow_truncation": "true"}).field == "metadata.allow_truncation"
    assert refusal(allow_fallback=1).field == "allow_fallback"


def test_a_payload_over_the_limit_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        read_job(b"{" + b" " * LIMITS.max_payload_bytes + b"}", limits=LIMITS)


def test_flags_without_effect_travel_along_and_change_nothing() -> None:
    flags: dict[str, object] = {"sfw_mode": True, "content_tier": "adult", "nsfw_enforce": False}
    plain, flagged = image(), image(**flags, metadata={"contentType": "x", "quality": "high"})
    recorded = {k: msgspec.json.decode(v) for k, v in flagged.recorded.passed_through.items()}
    assert recorded == {**flags, "contentType": "x", "quality": "high"}
    assert msgspec.structs.replace(flagged, recorded=plain.recorded) == plain


def test_only_short_values_are_recorded() -> None:
    recorded = image(content_type="x" * 1000, quality={"deep": [1]}).recorded.passed_through
    assert msgspec.json.decode(recorded["content_type"]) == "x" * 256
    assert "quality" not in recorded


def test_unknown_keys_of_config_are_listed() -> None:
    request = image(config={"bucket": "x", "extension": "exe", "steps": 20}, whatever=1)
    assert request.recorded.ignored_fields == ("config.bucket", "config.extension")
    assert request.steps == 20


@pytest.mark.parametrize(
    ("payload", "job_id"),
    [
        (b'{"id": "a-1"}', "a-1"),
        (b'{"job_id": "a-1", "type": 3}', "a-1"),
        (b'{"jobId": "a-1"}', "a-1"),
        (b'{"user_id": "u-1"}', None),
        (b'{"metadata": {"id": "inner"}}', None),
        (b'{"id": 7}', None),
        (b'{"id": "../x"}', None),
        (b'{"id": "a-1", "x": NaN}', "a-1"),
        (b'{"user_id": "u-1", "id" : "a-1", broken', "a-1"),
        (b'["{\\"id\\":\\"a-1\\",\\"type\\":\\"x\\"}", 2]', "a-1"),
        (b'"{\\"user_id\\":\\"u-1\\"}"', None),
        (b'{"id": "a..b", broken', None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_an_id_is_found_in_whatever_came(payload: bytes, job_id: str | None) -> None:
    assert find_id(payload) == job_id


def test_a_fingerprint_knows_meaning_and_not_spelling() -> None:
    one = canonical_fingerprint(b'{"a": 1, "b": {"d": "\\u00e9", "c": 2}}')
    two = canonical_fingerprint('{"b":{"c":2,"d":"é"},"a":1}'.encode())
    assert one == two
    assert len(one) == 64
    assert canonical_fingerprint(b'{"a": 2}') != canonical_fingerprint(b'{"a": 1}')
    with pytest.raises(RequestError):
        canonical_fingerprint(b"[]")


def test_a_request_survives_the_pipe() -> None:
    request = image(config={"x": 1}, sfw_mode=True)
    data = msgspec.json.encode(request)
    assert msgspec.json.decode(data, type=ImageRequest) == request
