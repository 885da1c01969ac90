import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.queue.elements import DEEPEST, read_element, write_element

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "job_id", "type", "data", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", fullmatch=True)
JOBS = st.fixed_dictionaries(
    {"id": IDS, "type": st.sampled_from(sorted(JOB_TYPES)), "prompt": st.text(max_size=20)}
)
WRAPPINGS = (
    lambda text: text,
    lambda text: json.dumps(text),
    lambda text: json.dumps([text]),
    lambda text: f" [ {text} ]\n",
    lambda text: json.dumps({"data": text}),
    lambda text: f'{{"data":{text}}}',
    lambda text: json.dumps({"data": text, "pushed_at": 1}),
)


@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_nothing_makes_the_decoder_raise(raw: bytes) -> None:
    """Q-20: no exception leaves it, and what cannot be read is kept as it came."""
    element = read_element(raw)
    if not element.readable:
        assert element.payload == raw
        assert element.reason


@given(value=JSON)
def test_no_json_makes_the_decoder_raise(value: object) -> None:
    """Q-20."""
    raw = json.dumps(value).encode()
    element = read_element(raw)
    assert element.readable or element.payload == raw


@given(value=JOBS, wrapping=st.sampled_from(WRAPPINGS))
def test_every_wrapping_comes_off(value: dict[str, str], wrapping: object) -> None:
    """Q-20: the payload is the job object, byte for byte; reading it again changes nothing."""
    text = json.dumps(value, ensure_ascii=False)
    assert callable(wrapping)
    element = read_element(wrapping(text).encode())
    assert element.readable
    assert element.payload == text.encode()
    assert element.job_id == value["id"]
    assert element.type == value["type"]
    assert read_element(element.payload) == element


@pytest.mark.parametrize("depth", [DEEPEST - 1, DEEPEST, 50])
def test_wrappings_come_off_a_few_times(depth: int) -> None:
    """Q-20: at most eight steps, the last of which finds the object."""
    raw = b"[" * depth + b'{"id":"a"}' + b"]" * depth
    assert read_element(raw).readable == (depth < DEEPEST)
    assert read_element(raw).job_id == "a"


@pytest.mark.parametrize(
    ("kind", "read", "lane"),
    [
        ("sdxl_image_fast", "sdxl_image_fast", Lane.IMAGE),
        ("image_fast", "image_fast", Lane.VIDEO),
        ("wan_video_high", "video_high", Lane.VIDEO),
        ("chat_enhance", "chat_enhance", Lane.CHAT),
        ("nothing", "nothing", Lane.IMAGE),
    ],
)
def test_the_type_decides_the_lane(kind: str, read: str, lane: Lane) -> None:
    """Q-1, 3.3: `wan_` is dropped; without a known type the list decides."""
    element = read_element(msgspec.json.encode({"id": "a", "type": kind}))
    assert (element.type, element.lane(Lane.IMAGE)) == (read, lane)


def test_the_first_name_that_is_given_wins() -> None:
    """3.3: `type` before `job_type`, `id` before its aliases; null is absent."""
    element = read_element(
        b'{"id":null,"job_id":"a","jobId":"b","type":"video_fast","job_type":"image_fast",'
        b'"user_id":null,"userId":"ann"}'
    )
    assert (element.job_id, element.type, element.user_id) == ("a", "video_fast", "ann")
    assert element.priority is PriorityClass.NORMAL
    assert read_element(b'{"id":"a","type":"chat_enhance"}').priority is PriorityClass.INTERACTIVE


def test_an_element_of_ours_is_known_and_like_no_other() -> None:
    first, second = (write_element("a", "video_fast", "ann", nonce) for nonce in ("1", "2"))
    assert first != second
    element = read_element(first)
    assert element.accepted
    assert (element.job_id, element.type, element.user_id) == ("a", "video_fast", "ann")
