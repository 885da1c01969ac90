"""`dead` and `callbacks` against a pod on a real port."""

from collections.abc import Iterator

import pytest
from tests.unit.client.served_pod import KEY, ServedPod, complete, served

from ourvidz_worker.cli.main import run
from ourvidz_worker.queue import DeadCallback, DeadLetter

AT = 1_700_000_000.0


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedPod]:
    with served(complete) as running:
        monkeypatch.setenv("OURVIDZ_URL", running.url)
        monkeypatch.setenv("OURVIDZ_KEY", KEY)
        yield running


def letter(name: str, job_id: str | None) -> DeadLetter:
    return DeadLetter(id=name, job_id=job_id, raw=b"raw", reason="No.", code="CODE", tries=2, at=AT)


def callback(number: int, job_id: str) -> DeadCallback:
    return DeadCallback(
        id=number,
        job_id=job_id,
        status="failed",
        body=b"{}",
        tries=9,
        created_at=AT,
        at=AT,
        reason="HTTP 410",
    )


def test_dead_letters_are_listed_and_replayed(
    pod: ServedPod, capsys: pytest.CaptureFixture[str]
) -> None:
    """Q-21."""
    pod.pod.dead.bury(letter("one", "j"), letter("two", None))
    assert run(["dead"]) == 0
    time = "2023-11-14T22:13:20.000Z"
    assert capsys.readouterr().out.splitlines() == [
        f"two\t\tCODE\t2\t{time}\t3 B\tNo.",
        f"one\tj\tCODE\t2\t{time}\t3 B\tNo.",
    ]
    assert run(["dead", "--replay", "one"]) == 0
    assert run(["dead", "--replay", "two"]) == 0
    shown = capsys.readouterr().out
    assert shown == "one: waits again as job j\ntwo: waits again\n"
    assert pod.pod.dead.replayed == ["one", "two"]
    assert run(["dead", "--replay", "one"]) == 2
    assert "NOT_FOUND" in capsys.readouterr().err


def test_dead_callbacks_are_listed_and_sent_again(
    pod: ServedPod, capsys: pytest.CaptureFixture[str]
) -> None:
    """K-11."""
    pod.pod.dead.give_up(callback(3, "j"))
    assert run(["callbacks", "dead"]) == 0
    time = "2023-11-14T22:13:20.000Z"
    assert capsys.readouterr().out == f"3\tj\tfailed\t9\t{time}\t{time}\tHTTP 410\n"
    assert run(["callbacks", "replay", "3"]) == 0
    assert capsys.readouterr().out == "3: is sent again\n"
    assert run(["callbacks", "replay", "3"]) == 2
    assert pod.pod.dead.revived == [3]


def test_all_dead_callbacks_are_sent_in_order(
    pod: ServedPod, capsys: pytest.CaptureFixture[str]
) -> None:
    """K-10: the oldest first; one that may not be sent any more stops nothing."""
    pod.pod.dead.give_up(callback(5, "j"), callback(4, "late"), callback(3, "j"))
    pod.pod.dead.busy.add("late")
    assert run(["callbacks", "replay", "--all"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "2 of 3 are sent again\n"
    assert shown.err.startswith("4: ")
    assert pod.pod.dead.revived == [3, 5]


@pytest.mark.parametrize("words", [[], ["3", "--all"]])
def test_one_callback_or_all(pod: ServedPod, words: list[str]) -> None:
    pod.pod.dead.give_up(callback(3, "j"))
    assert run(["callbacks", "replay", *words]) == 2
    assert pod.pod.dead.revived == []
