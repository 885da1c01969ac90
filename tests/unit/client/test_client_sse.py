"""The event stream parser: any cut of the bytes gives the same events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ourvidz_worker.client.sse import EventParser, ServerEvent

STREAM = (
    "\ufeffid: 1\nevent: accepted\ndata: {}\n\n"
    ": keep-alive\n\n"
    "retry: 2500\n"
    "id: 2\r\nevent: stage\r\ndata: grün\r\ndata:  two\r\n\r\n"
    "data: no name\rid\r\r"
    "event: lost\n\n"
    "unknown: x\ndata\n\n"
).encode()

EVENTS = [
    ServerEvent(id="1", event="accepted", data="{}"),
    ServerEvent(id="2", event="stage", data="grün\n two"),
    ServerEvent(id="", event="message", data="no name"),
    ServerEvent(id="", event="message", data=""),
]


@given(cuts=st.sets(st.integers(0, len(STREAM))))
def test_events_do_not_depend_on_how_bytes_arrive(cuts: set[int]) -> None:
    parser, found, last = EventParser(), [], 0
    for cut in [*sorted(cuts), len(STREAM)]:
        found += parser.feed(STREAM[last:cut])
        last = cut
    assert found == EVENTS
    assert parser.retry_s == 2.5


@pytest.mark.parametrize("line", [b"retry: soon\n", b"retry: -1\n", "retry: ²\n".encode()])
def test_a_senseless_wish_for_a_pause_is_passed_over(line: bytes) -> None:
    parser = EventParser()
    assert parser.feed(line) == []
    assert parser.retry_s is None


def test_an_id_with_a_null_is_passed_over() -> None:
    parser = EventParser()
    assert parser.feed(b"id: 7\nid: 8\0\ndata: x\n\n")[0].id == "7"


def test_a_line_feed_after_a_cut_return_ends_no_second_line() -> None:
    parser = EventParser()
    assert parser.feed(b"data: x\r") == []
    assert parser.feed(b"\n") == []
    assert parser.feed(b"\r\n") == [ServerEvent(id="", event="message", data="x")]


def test_an_event_cut_off_in_the_middle_is_not_told() -> None:
    assert EventParser().feed(b"event: token\ndata: half") == []
