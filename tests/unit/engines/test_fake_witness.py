"""The fake engine's witness: a line for each try, or nothing at all."""

from pathlib import Path

from ourvidz_worker.domain.request import ChatRequest, Sampling
from ourvidz_worker.engines import EngineSettings, Task
from ourvidz_worker.engines.fake import FakeEngine
from ourvidz_worker.engines.fake_witness import Witness
from ourvidz_worker.testing.clock import FakeClock


def test_each_note_is_a_line_with_the_time(tmp_path: Path) -> None:
    clock, file = FakeClock(now=5.0), tmp_path / "witness"
    witness = Witness(str(file), clock)
    witness.note()
    clock.jump(1.5)
    witness.note()
    assert file.read_text() == "5.000000\n6.500000\n"


def test_an_attempt_is_witnessed_when_it_begins(tmp_path: Path) -> None:
    file = tmp_path / "witness"
    engine = FakeEngine(EngineSettings(options={"witness": str(file)}))
    request = ChatRequest(job_type="chat_conversation", sampling=Sampling(), text="a")
    assert not file.exists()
    engine.begin(Task(request=request, seed=1, spool=tmp_path))
    assert len(file.read_text().splitlines()) == 1


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    Witness("").note()
    assert list(tmp_path.iterdir()) == []
