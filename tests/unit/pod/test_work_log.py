"""What the log is told of a job's work (O-8)."""

import json

from ourvidz_worker.domain.artifact import Asset
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.job import Status
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.request import Request
from ourvidz_worker.pod.work_log import fields_of, took_of
from ourvidz_worker.queue import Settlement

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "A secret wish"},
    {"role": "assistant", "content": "No."},
]


def request_of(kind: str, **fields: object) -> Request:
    job = {"id": "j1", "user_id": "u1", "type": kind, "prompt": "A secret wish", **fields}
    return read_job(json.dumps(job).encode(), limits=Limits()).request


def test_a_text_job_is_told_in_figures() -> None:
    """O-8: message count, system and user prompt length, `max_tokens`, no template override."""
    fields = fields_of(request_of("chat_conversation", messages=MESSAGES))
    assert fields["messages"] == 3
    assert (fields["system_chars"], fields["user_chars"], fields["max_tokens"]) == (9, 13, 512)
    assert fields["template"] == "no template override"
    assert "wish" not in str(fields)


def test_a_prompt_is_told_by_length_and_digest_unless_the_operator_wants_it() -> None:
    """O-8: `LOG_PROMPTS`."""
    request = request_of("sdxl_image_fast")
    fields = fields_of(request)
    assert fields["prompt_chars"] == 13
    assert "wish" not in str(fields)
    assert fields_of(request, whole=True)["prompt"] == "A secret wish"
    assert fields_of(request_of("admin_utilities")) == {"job_type": "admin_utilities"}
    assert fields_of(None) == {}


def test_an_end_is_told_with_its_time_and_tokens() -> None:
    """O-8: duration and tokens."""
    text = Asset(index=0, media=Media.TEXT, text="x", metadata={"tokens_generated": 6})
    end = Settlement(status=Status.COMPLETED, assets=(text,), facts={"processing_time": 1.5})
    assert took_of(end) == {"duration_s": 1.5, "tokens": 6}
    assert took_of(Settlement(status=Status.CANCELLED)) == {"duration_s": None}
