"""`chat`, `jobs` and `openapi` against a pod on a real port."""

import builtins
import io
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.unit.client.served_pod import KEY, ServedPod, begin, complete, served

from ourvidz_worker.cli.chat import Conversation
from ourvidz_worker.cli.interrupts import INTERRUPTED
from ourvidz_worker.cli.main import run
from ourvidz_worker.client import Client
from ourvidz_worker.domain.errors import InvalidPrompt
from ourvidz_worker.testing.clock import FakeClock


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedPod]:
    with served(complete) as running:
        monkeypatch.setenv("OURVIDZ_URL", running.url)
        monkeypatch.setenv("OURVIDZ_KEY", KEY)
        yield running


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str | BaseException) -> None:
    waiting = list(lines)

    def read(_: str = "") -> str:
        line = waiting.pop(0) if waiting else EOFError()
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr(builtins, "input", read)


def test_one_question_is_answered_and_timed(
    pod: ServedPod, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system = tmp_path / "system.txt"
    system.write_text("Be brief.")
    words = ["chat", "Who?", "--system", str(system), "--max-tokens", "9", "--seed", "3"]
    assert run([*words, "--temperature", "0"]) == 0
    shown = capsys.readouterr()
    assert shown.out == " Hello there\n\n"
    speed = r"\[2 tokens, 8\.0 tokens/s, the first after \d+\.\d\d s, stop\]\n"
    assert re.fullmatch(speed, shown.err)
    (request,) = pod.pod.texts.requests
    assert [(turn.role, turn.content) for turn in request.messages] == [
        ("system", "Be brief."),
        ("user", "Who?"),
    ]
    sampling = request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.seed) == (9, 0.0, 3)


def test_a_talk_keeps_its_history(pod: ServedPod, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "one", "  ", "two")
    assert run(["chat"]) == 0
    turns = [[turn.content for turn in request.messages] for request in pod.pod.texts.requests]
    assert turns == [["one"], ["one", "Hello there", "two"]]


def test_a_talk_begins_anew_when_it_is_told_to(
    pod: ServedPod, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = tmp_path / "system.txt"
    system.write_text("Be brief.")
    typed(monkeypatch, "one", "/reset", "two", "/reset now")
    assert run(["chat", "--system", str(system), "--model", "qwen_base"]) == 0
    turns = [[turn.content for turn in request.messages] for request in pod.pod.texts.requests]
    again = ["Be brief.", "two", "Hello there", "/reset now"]
    assert turns == [["Be brief.", "one"], ["Be brief.", "two"], again]
    assert {request.model for request in pod.pod.texts.requests} == {"base"}


def test_the_first_token_is_timed(pod: ServedPod, capsys: pytest.CaptureFixture[str]) -> None:
    class Ticking(FakeClock):
        def monotonic(self) -> float:
            self.jump(1.5)
            return super().monotonic()

    with Client(pod.url, KEY) as client:
        reply = Conversation(client, {}, None, Ticking()).ask("Who?")
        assert reply is not None
        pod.pod.texts.pieces = []
        Conversation(client, {}, None, Ticking()).ask("Who?")
    timed, silent = capsys.readouterr().err.splitlines()
    assert timed == "[2 tokens, 8.0 tokens/s, the first after 1.50 s, stop]"
    assert silent == "[0 tokens, stop]"


def test_nothing_is_added_to_what_is_typed(pod: ServedPod, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "one")
    run(["chat"])
    (request,) = pod.pod.texts.requests
    assert [(turn.role, turn.content) for turn in request.messages] == [("user", "one")]


def test_an_interrupt_forgets_one_question(
    pod: ServedPod, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "one", "two", KeyboardInterrupt())
    real, asked = Client.chat_stream, []

    def stream(client: Client, turns: list[dict[str, str]], **options: object) -> object:
        asked.append([turn["content"] for turn in turns])
        if turns[-1]["content"] == "one":
            raise KeyboardInterrupt
        return real(client, turns)

    monkeypatch.setattr(Client, "chat_stream", stream)
    assert run(["chat"]) == 0
    assert "(stopped)" in capsys.readouterr().err
    assert asked == [["one"], ["two"]]


def test_an_interrupted_single_question_is_told(
    pod: ServedPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "chat_stream", stopped)
    assert run(["chat", "x"]) == INTERRUPTED


def test_a_refused_question_is_the_callers_fault(
    pod: ServedPod, capsys: pytest.CaptureFixture[str]
) -> None:
    pod.pod.texts.error = InvalidPrompt("Too long.")
    assert run(["chat", "x"]) == 2
    assert "Too long." in capsys.readouterr().err


def test_jobs_are_listed_shown_followed_and_cancelled(
    pod: ServedPod, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["submit", "video_fast", "x", "--id", "one", "--no-wait"])
    pod.pod.jobs.script = begin  # type: ignore[attr-defined]
    run(["submit", "video_fast", "x", "--id", "two", "--no-wait", "--user", "u"])
    capsys.readouterr()

    assert run(["jobs"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [("two", "processing"), ("one", "completed")]

    assert run(["jobs", "list", "--user", "u", "--status", "processing", "--limit", "5"]) == 0
    assert capsys.readouterr().out.startswith("two\t")

    assert run(["jobs", "cancel", "two"]) == 0
    assert "two" in capsys.readouterr().out

    assert run(["jobs", "show", "two"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["status"] == "cancelled"

    assert run(["jobs", "events", "two"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert msgspec.json.decode(lines[2])["stage"] == "denoise"
    assert msgspec.json.decode(lines[-1])["event"] == "cancelled"


def test_an_unknown_job_is_the_callers_fault(pod: ServedPod) -> None:
    assert run(["jobs", "show", "none"]) == 2


def test_the_document_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["openapi"]) == 0
    document = msgspec.json.decode(io.StringIO(capsys.readouterr().out).read())
    assert document["openapi"].startswith("3.")
    assert "/v1/jobs" in document["paths"]
