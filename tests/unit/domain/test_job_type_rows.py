"""The fourteen job types, row by row, as the contract has them (3.4 to 3.7)."""

import pytest

from ourvidz_worker.domain.job_types import JOB_TYPES, find_job_type
from ourvidz_worker.domain.lane import Lane

ROWS: dict[str, tuple[object, ...]] = {
    "sdxl_image_fast": (Lane.IMAGE, 15, 6.0, 1024, 1024, 0, 180),
    "sdxl_image_high": (Lane.IMAGE, 25, 7.5, 1024, 1024, 0, 180),
    "image_fast": (Lane.VIDEO, 25, 6.5, 480, 832, 1, 180),
    "image_high": (Lane.VIDEO, 50, 7.5, 480, 832, 1, 180),
    "image7b_fast_enhanced": (Lane.VIDEO, 25, 6.5, 480, 832, 1, 300),
    "image7b_high_enhanced": (Lane.VIDEO, 50, 7.5, 480, 832, 1, 300),
    "video_fast": (Lane.VIDEO, 25, 6.5, 480, 832, 81, 500),
    "video_high": (Lane.VIDEO, 50, 7.5, 480, 832, 81, 500),
    "video7b_fast_enhanced": (Lane.VIDEO, 25, 6.5, 480, 832, 81, 620),
    "video7b_high_enhanced": (Lane.VIDEO, 50, 7.5, 480, 832, 81, 620),
    "chat_enhance": (Lane.CHAT, 0, 0, 0, 0, 0, 90),
    "chat_conversation": (Lane.CHAT, 0, 0, 0, 0, 0, 90),
    "chat_unrestricted": (Lane.CHAT, 0, 0, 0, 0, 0, 90),
    "admin_utilities": (Lane.ADMIN, 0, 0, 0, 0, 0, 90),
}


def test_there_are_fourteen() -> None:
    assert sorted(JOB_TYPES) == sorted(ROWS)
    assert sum(1 for _ in JOB_TYPES) == 14


@pytest.mark.parametrize("name", list(ROWS))
def test_a_row_is_the_contracts(name: str) -> None:
    row = JOB_TYPES[name]
    found = (row.lane, row.steps, row.guidance, row.width, row.height, row.frames, row.deadline_s)
    assert found == ROWS[name]
    assert row.extends_prompt == name.endswith("_enhanced")


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("chat_enhance", 200), ("chat_conversation", 512), ("chat_unrestricted", 512)],
)
def test_text_types_have_the_contracts_lengths(name: str, tokens: int) -> None:
    assert JOB_TYPES[name].max_tokens == tokens


def test_the_historic_prefix_is_dropped() -> None:
    assert find_job_type("wan_video_fast") is JOB_TYPES["video_fast"]
    assert find_job_type("video_fast") is JOB_TYPES["video_fast"]
    assert find_job_type("wan_") is None
    assert find_job_type("nonsense") is None
