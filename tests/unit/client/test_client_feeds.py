"""A job's events over several connections, and a text while it is written."""

import msgspec
import pytest

from ourvidz_worker.client.errors import (
    ConnectionFailed,
    NotKnown,
    NotNow,
    PodFailed,
    UnexpectedAnswer,
)
from ourvidz_worker.client.feeds import LONGEST_PAUSE_S, ChatFeed, JobFeed
from ourvidz_worker.client.results import ChatReply


def event(seq: int, kind: str, **data: object) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (seq, kind.encode(), msgspec.json.encode(data))


def feed(after: int = 0, patience_s: float = 10.0) -> JobFeed:
    return JobFeed("a/b", after=after, patience_s=patience_s)


def test_events_come_in_order_to_the_last() -> None:
    job = feed()
    told = job.take(event(1, "accepted") + event(2, "started") + event(3, "completed", assets=1))
    assert [(each.seq, each.kind, each.is_last) for each in told] == [
        (1, "accepted", False),
        (2, "started", False),
        (3, "completed", True),
    ]
    assert told[2].data == {"assets": 1}
    assert job.ended


def test_the_path_is_quoted() -> None:
    assert feed().path == "/v1/jobs/a%2Fb/events"


def test_the_next_connection_asks_for_what_was_missed_and_tells_nothing_twice() -> None:
    job = feed()
    assert "Last-Event-ID" not in job.headers()
    job.take(event(1, "accepted") + b"id: 2\nevent: star")
    assert job.headers()["Last-Event-ID"] == "1"
    assert [each.seq for each in job.take(event(1, "accepted") + event(2, "started"))] == [2]


def test_fleeting_events_carry_the_last_number_and_are_told_all() -> None:
    job = feed()
    job.take(event(1, "accepted") + event(2, "started"))
    moves = [event(2, "progress", stage="denoise", step=n, steps=2, fraction=n / 2) for n in (1, 2)]
    told = job.take(b"".join(moves))
    assert [each.progress().step for each in told] == [1, 2]
    assert told[0].progress().fraction == 0.5


def test_an_end_is_told_even_when_it_could_not_be_numbered() -> None:
    job = feed(after=2)
    assert [each.kind for each in job.take(event(2, "failed"))] == ["failed"]
    assert job.ended


def test_events_without_a_number_are_told() -> None:
    assert feed().take(b"event: token\ndata: {}\n\n")[0].seq == 0


def test_pauses_grow_to_a_bound_and_patience_ends() -> None:
    job = feed(patience_s=20.0)
    pauses = [job.pause_s(ConnectionFailed()) for _ in range(7)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    with pytest.raises(ConnectionFailed):
        job.pause_s(ConnectionFailed())


def test_news_make_patience_new() -> None:
    job = feed(patience_s=0.5)
    job.pause_s(NotNow())
    job.take(event(1, "accepted"))
    assert job.pause_s() == 0.2


def test_the_pods_own_wish_counts() -> None:
    job = feed()
    job.take(b"retry: 3000\n\n")
    assert job.pause_s() == 3.0


def test_an_error_that_does_not_pass_is_raised_at_once() -> None:
    with pytest.raises(NotKnown):
        feed().pause_s(NotKnown())


def test_a_pod_that_only_closes_is_named() -> None:
    with pytest.raises(ConnectionFailed, match="keeps closing"):
        feed(patience_s=0.1).pause_s()


def test_data_that_is_no_object_is_unexpected() -> None:
    with pytest.raises(UnexpectedAnswer):
        feed().take(b"event: stage\ndata: [1]\n\n")


def test_a_text_comes_in_pieces_then_whole() -> None:
    chat = ChatFeed()
    pieces = chat.take(event(0, "token", text="Hel") + event(0, "token", text="lo"))
    assert pieces == ["Hel", "lo"]
    (reply,) = chat.take(
        event(0, "completed", response="Hello", tokens_generated=2, generation_time=0.5)
    )
    assert isinstance(reply, ChatReply)
    assert (reply.response, reply.tokens_per_s) == ("Hello", 4.0)
    chat.close()


def test_a_text_that_fails_raises_what_the_pod_says() -> None:
    problem = {"status": 503, "code": "WORKER_UNAVAILABLE", "error": "Not now.", "retryable": True}
    with pytest.raises(NotNow, match=r"Not now\."):
        ChatFeed().take(event(0, "failed", **problem))
    with pytest.raises(PodFailed):
        ChatFeed().take(event(0, "failed"))


def test_a_text_without_its_reply_is_an_error() -> None:
    chat = ChatFeed()
    chat.take(event(0, "token", text="Hel"))
    with pytest.raises(ConnectionFailed):
        chat.close()
    with pytest.raises(UnexpectedAnswer):
        chat.take(event(0, "completed", response=1))
