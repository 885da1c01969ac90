"""`bench chat` against a pod on a real port."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.unit.client.served_pod import KEY, ServedPod, complete, served

from ourvidz_worker.cli import bench_chat
from ourvidz_worker.cli.bench_chat import figures_table
from ourvidz_worker.cli.chat_figures import LoadFigures
from ourvidz_worker.cli.main import run
from ourvidz_worker.domain.errors import Unavailable


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedPod]:
    with served(complete) as running:
        monkeypatch.setenv("OURVIDZ_URL", running.url)
        monkeypatch.setenv("OURVIDZ_KEY", KEY)
        yield running


def test_each_number_of_users_and_each_mix_is_a_row_and_an_entry(
    pod: ServedPod, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    words = ["bench", "chat", "--users", "1,2", "--mix", "both", "--tokens-in", "7"]
    assert run([*words, "--tokens-out", "3", "--requests", "2", "--json", str(file)]) == 0
    shown = capsys.readouterr()
    rows = [line.split("\t") for line in shown.out.splitlines()]
    assert [row[:4] for row in rows] == [
        ["1", "distinct", "2", "0"],
        ["2", "distinct", "4", "0"],
        ["1", "shared", "2", "0"],
        ["2", "shared", "4", "0"],
    ]
    assert "2 users, shared: talking 100% 4 of 4 answers" in shown.err
    written = msgspec.json.decode(file.read_bytes(), type=list[LoadFigures])
    assert [(each.load.users, each.load.mix, each.tokens) for each in written] == [
        (1, "distinct", 4),
        (2, "distinct", 8),
        (1, "shared", 4),
        (2, "shared", 8),
    ]
    assert len(figures_table(written).titles) == len(rows[0])


@pytest.mark.parametrize(
    "wrong", [["--users", "1,x"], ["--users", "0"], ["--extra", "[1]"], ["--tokens-out", "0"]]
)
def test_a_wrong_option_is_the_callers_fault(wrong: list[str], pod: ServedPod) -> None:
    assert run(["bench", "chat", *wrong]) == 2
    assert pod.pod.texts.requests == []


def test_failed_requests_fail_the_command(
    pod: ServedPod, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pod.pod.texts.error, pod.pod.texts.error_at = Unavailable(), 2
    assert run(["bench", "chat", "--users", "2"]) == 3
    assert "does not answer" in capsys.readouterr().err

    async def known(*_: object) -> int:
        return 5

    monkeypatch.setattr(bench_chat, "find_words", known)
    assert run(["bench", "chat", "--users", "2", "--requests", "3"]) == 3
    shown = capsys.readouterr()
    assert shown.out.split("\t")[:4] == ["2", "distinct", "0", "6"]
    assert "WORKER_UNAVAILABLE x6" in shown.err
