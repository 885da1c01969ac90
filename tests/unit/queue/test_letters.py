import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ourvidz_worker.queue import CallbackRow, DeadLetter
from ourvidz_worker.queue.letters import name_letter, read_letter, write_dead_callback, write_letter

AT = 1_700_000_000.125


@given(raw=st.binary(max_size=100))
def test_a_dead_letter_keeps_every_byte(raw: bytes) -> None:
    """Q-21: seven members, in JSON that every reader takes."""
    letter = DeadLetter(job_id=None, raw=raw, reason="No.", code="INVALID_REQUEST", tries=2, at=AT)
    text = write_letter(letter, "worker-1")
    assert text.isascii()
    assert list(json.loads(text)) == [
        *("raw", "reason", "code", "job_id", "attempts", "worker_id", "at")
    ]
    assert replace(read_letter(text), id="") == letter
    assert read_letter(text).id == name_letter(text)


def test_text_in_a_dead_letter_stays_text() -> None:
    letter = DeadLetter(job_id="a", raw='["é"]'.encode(), reason="", code="", tries=1, at=AT)
    assert json.loads(write_letter(letter, ""))["raw"] == '["é"]'


def test_a_letter_of_another_worker_is_read() -> None:
    letter = read_letter(
        b'{"raw":"x","job_id":"a","attempts":null,"at":"2026-01-31T12:00:00.000Z"}'
    )
    assert (letter.job_id, letter.raw, letter.tries, letter.code) == ("a", b"x", 0, "")


@pytest.mark.parametrize("text", [b"", b"[]", b"not JSON", b"\xff", b'{"raw":7}', b"[" * 5000])
def test_what_is_no_letter_is_shown_as_it_is(text: bytes) -> None:
    letter = read_letter(text)
    assert (letter.job_id, letter.raw) == (None, text)


def test_a_dead_callback_names_its_body_and_the_reason() -> None:
    """7.4: kept for the operator."""
    row = CallbackRow(id=1, job_id="a", status="failed", body=b"{}", tries=3, created_at=AT)
    assert json.loads(write_dead_callback(row, "HTTP 410", AT)) == {
        "job_id": "a",
        "status": "failed",
        "body": "{}",
        "reason": "HTTP 410",
        "attempts": 3,
        "at": "2023-11-14T22:13:20.125Z",
    }
