"""Every sentence that decoding can say: fit for a user, without an echo of theirs (H-21, H-22)."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.intake import Limits, find_id, read_job
from ourvidz_worker.domain.intake.fields import wrong
from ourvidz_worker.domain.job_types import JOB_TYPES

FORBIDDEN = ("inf", "nan", "probability tensor", "content policy", "inappropriate")
ECHO = "Zq7"
"""Any value of ours that comes back in a sentence holds this."""

CONFIG = (
    "num_inference_steps",
    "steps",
    "cfg",
    "guidance_scale",
    "width",
    "height",
    "size",
    "resolution",
    "num_images",
    "seed",
    "denoise_strength",
    "reference_strength",
    "image",
    "scheduler",
    "resize_policy",
    "sample_solver",
    "sample_shift",
    "frame_num",
    "fps",
    "single_mode",
    "conditioning_scale",
    "first_frame",
    "last_frame",
    "reference_mode",
    "enhancement_messages",
    "enhancement_inputs",
    "allow_truncation",
    "messages",
    "max_tokens",
    "temperature",
    "top_p",
    "stop",
    "model",
    "truncate",
    "operation",
    "negative_prompt",
)
METADATA = (
    "reference_image_url",
    "exact_copy_mode",
    "reference_mode",
    "duration",
    "aspect_ratio",
    "seed",
    "messages",
    "video_reference_mode",
    "start_reference_url",
    "end_reference_url",
    "allow_fallback",
)
TOP = ("prompt", "negative_prompt", "seed", "width", "frames", "messages", "compel_enabled")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 2000),
    st.floats(-5, 2000, allow_nan=False),
    st.sampled_from([ECHO, f"{ECHO}x1024", "1024x1024", "", "16:9", "copy", "start", "7"]),
    st.just([ECHO]),
    st.just({ECHO: ECHO}),
    st.just([{"role": ECHO, "content": ECHO}]),
)


def some_of(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, object]]:
    return st.dictionaries(st.sampled_from(keys), VALUES, max_size=5)


def refusal_of(payload: bytes) -> RequestError | None:
    try:
        intake = read_job(payload, limits=Limits())
    except RequestError as error:
        return error
    assert intake.job_type.name == intake.request.job_type
    return None


@settings(max_examples=600, deadline=None)
@given(
    kind=st.sampled_from([*JOB_TYPES, ECHO]),
    top=some_of(TOP),
    config=st.one_of(some_of(CONFIG), VALUES),
    metadata=st.one_of(some_of(METADATA), VALUES),
)
def test_any_job_is_read_or_refused_in_a_decent_sentence(
    kind: str, top: dict[str, object], config: object, metadata: object
) -> None:
    job = {
        "id": "j1",
        "type": kind,
        "user_id": "u1",
        "prompt": "a",
        "config": config,
        "metadata": metadata,
        **top,
    }
    payload = json.dumps(job).encode()
    assert find_id(payload) == "j1"
    error = refusal_of(payload)
    if error is not None:
        said = f"{error.sentence} {error.field}"
        assert error.field
        assert ECHO not in said
        assert len(error.sentence) <= 200
        assert not [word for word in FORBIDDEN if word in said.lower()]


@pytest.mark.parametrize("name", [*(f"config.{k}" for k in CONFIG), *METADATA, *TOP])
def test_every_field_can_be_named(name: str) -> None:
    error = wrong(name, "a text")
    said = f"{error.sentence} {error.field}".lower()
    assert not [word for word in FORBIDDEN if word in said]


def test_an_operation_is_refused_without_naming_the_others() -> None:
    job = b'{"id":"j","user_id":"u","type":"admin_utilities","config":{"operation":"x"}}'
    error = refusal_of(job)
    assert error is not None
    assert error.sentence == "config.operation must be an operation that this worker knows"
