"""What an answer means and when the next try comes: the table of K-11, row by row."""

import json

import msgspec
import pytest

from ourvidz_worker.callbacks.schedule import GiveUp, Postpone, Strike, next_move
from ourvidz_worker.callbacks.verdict import (
    Delivered,
    Final,
    Parked,
    Retry,
    judge_reply,
    retry_after,
)

NOW = 1_700_000_000.0
DAY = 24 * 3600.0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A callback owed."""

    id: int = 1
    job_id: str = "j1"
    status: str = "completed"
    body: bytes = b"{}"
    tries: int = 0
    created_at: float = NOW


def of_type(job_type: str, **fields: object) -> Row:
    body = json.dumps({"metadata": {"job_type": job_type}}).encode()
    return msgspec.structs.replace(Row(body=body), **fields)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, b"", Delivered()),
        (200, b'{"success":true}', Delivered()),
        (202, b'{"success":true,"skipped":true}', Delivered(skipped=True)),
        (200, b'{"skipped":"yes"}', Delivered()),
        (200, b"[1]", Delivered()),
        (204, b"\xff", Delivered()),
        (200, b"[" * 100_000, Delivered()),
        (301, b"", Retry(error="status 301")),
        (307, b"", Retry(error="status 307")),
        (400, b"", Final(reason="status 400")),
        (401, b"", Parked(error="status 401")),
        (403, b"", Parked(error="status 403")),
        (404, b"", Retry(error="status 404", at_most=3)),
        (408, b"", Retry(error="status 408")),
        (409, b"", Final(reason="status 409")),
        (413, b"", Final(reason="status 413")),
        (422, b"", Final(reason="status 422")),
        (425, b"", Retry(error="status 425")),
        (429, b"", Retry(error="status 429")),
        (500, b"Server misconfigured", Retry(error="status 500")),
        (503, b"", Retry(error="status 503")),
        (599, b"", Retry(error="status 599")),
    ],
)
def test_every_answer_has_its_meaning(status: int, body: bytes, verdict: object) -> None:
    assert judge_reply(status, {}, body, now=NOW) == verdict


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0.0),
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("soon", 0.0),
        ("9" * 40, 3600.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:50", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("Tue, 14 Nov 2033 22:13:00 GMT", 3600.0),
    ],
)
def test_retry_after_is_read(text: str, seconds: float) -> None:
    assert retry_after(text, now=NOW) == seconds


def test_retry_after_is_part_of_the_verdict() -> None:
    assert judge_reply(503, {"retry-after": "9"}, b"", now=NOW) == Retry(
        error="status 503", after_s=9.0
    )


@pytest.mark.parametrize(
    ("tries", "longest"),
    [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 60), (7, 60), (1000, 60)],
)
def test_waits_double_up_to_a_minute_with_full_jitter(tries: int, longest: float) -> None:
    for jitter in (0.0, 0.5, 1.0):
        move = next_move(Row(tries=tries), Retry(error="e"), now=NOW, jitter=jitter)
        assert move == Postpone(delay_s=jitter * longest, error="e")


def test_the_receiver_may_ask_for_more_time() -> None:
    move = next_move(Row(), Retry(error="e", after_s=90.0), now=NOW, jitter=1.0)
    assert move == Postpone(delay_s=90.0, error="e")


def test_after_a_day_it_is_dead() -> None:
    row, verdict = Row(tries=900, created_at=NOW - DAY), Retry(error="status 500")
    assert next_move(row, verdict, now=NOW - 1, jitter=0.0) == Postpone(
        delay_s=0.0, error="status 500"
    )
    assert next_move(row, verdict, now=NOW, jitter=0.0) == GiveUp(reason="status 500, for 24 hours")
    parked = next_move(row, Parked(error="status 401"), now=NOW, jitter=0.0)
    assert parked == GiveUp(reason="status 401, for 24 hours")


def test_refused_keys_are_tried_every_five_minutes() -> None:
    move = next_move(Row(tries=50), Parked(error="status 401"), now=NOW, jitter=0.9)
    assert move == Postpone(delay_s=300.0, error="status 401")


def test_a_refusal_is_final() -> None:
    assert next_move(Row(), Final(reason="status 422"), now=NOW, jitter=0.0) == GiveUp(
        reason="status 422"
    )


@pytest.mark.parametrize(
    "verdict", [Retry(error="e"), Parked(error="e"), Retry(error="e", at_most=3)]
)
def test_processing_is_given_up_after_three_tries(verdict: Retry | Parked) -> None:
    moves = [
        next_move(Row(status="processing", tries=tries), verdict, now=NOW, jitter=0.0)
        for tries in range(3)
    ]
    assert [type(move) for move in moves] == [Postpone, Postpone, GiveUp]


def test_a_job_that_is_not_found_is_given_up_after_three_tries() -> None:
    verdict = Retry(error="status 404", at_most=3)
    moves = [
        next_move(of_type("video_fast", tries=tries), verdict, now=NOW, jitter=0.0)
        for tries in range(3)
    ]
    assert [type(move) for move in moves] == [Postpone, Postpone, GiveUp]


@pytest.mark.parametrize("kind", ["chat_enhance", "chat_conversation", "admin_utilities"])
def test_a_chat_job_that_is_not_found_counts_as_delivered(kind: str) -> None:
    verdict = Retry(error="status 404", at_most=3)
    assert next_move(of_type(kind), verdict, now=NOW, jitter=0.0) == Strike()


@pytest.mark.parametrize("body", [b"{}", b"", b"[]", b'{"metadata":null}', b'{"metadata":{}}'])
def test_a_body_without_a_type_is_no_chat(body: bytes) -> None:
    verdict = Retry(error="status 404", at_most=3)
    assert isinstance(next_move(Row(body=body), verdict, now=NOW, jitter=0.0), Postpone)


@pytest.mark.parametrize("skipped", [True, False])
def test_what_was_accepted_is_struck_out(skipped: bool) -> None:
    row = Row(tries=10**6, created_at=0.0)
    assert next_move(row, Delivered(skipped=skipped), now=NOW, jitter=0.0) == Strike()
