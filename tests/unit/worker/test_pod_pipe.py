"""The pipe over a real socket: frames both ways, from many threads, until either end is gone."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import msgspec
import pytest
import zmq
from tests.unit.worker.worker_parts import CLIP, PICTURE, TALK, make_run, only, with_raw

from ourvidz_worker.domain.messages import (
    Beat,
    Cancel,
    Command,
    Describe,
    Drain,
    Finished,
    Progress,
    Report,
    Run,
    TextPiece,
    Trim,
)
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.worker.pipe import PodLost, PodPipe, decode_commands, encode_report

WAIT_S = 20.0


class Ends:
    """Both ends of a pipe: the worker's, and the bare socket of a pod."""

    def __init__(self, address: str) -> None:
        self.context = zmq.Context()
        self.pod = self.context.socket(zmq.PAIR)
        self.pod.setsockopt(zmq.LINGER, 0)
        self.pod.setsockopt(zmq.RCVTIMEO, int(WAIT_S * 1000))
        self.pod.bind(address)
        self._told: list[Report] = []
        self.inbox: SimpleQueue[Command | PodLost] = SimpleQueue()
        self.pipe = PodPipe(address, self.inbox.put)
        self.pipe.start()

    def reports(self, count: int) -> list[Report]:
        """So many reports, from however many frames; each frame holds at least one."""
        decoder: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)
        while len(self._told) < count:
            lines = decoder.decode_lines(self.pod.recv())
            assert lines
            self._told += lines
        told, self._told = self._told[:count], self._told[count:]
        return told

    def command(self, command: Command) -> None:
        self.pod.send(msgspec.json.encode(command))

    def leave(self) -> None:
        """The pod goes."""
        self.pod.close()
        self.context.term()

    def taken(self) -> Command | PodLost:
        return self.inbox.get(timeout=WAIT_S)


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(f"ipc://{tmp_path}/s")
    yield ends
    ends.pipe.close()
    ends.leave()


def test_commands_come_down_in_order_and_equal(ends: Ends, tmp_path: Path) -> None:
    commands: list[Command] = [
        make_run(tmp_path, "a1", PICTURE),
        make_run(tmp_path, "a2", CLIP),
        make_run(tmp_path, "a3", TALK),
        Cancel(attempt_id="a1", reason="deadline"),
        Describe(),
        Trim(),
        Drain(grace_s=1.5),
    ]
    ends.pod.send(b"\n".join(msgspec.json.encode(command) for command in commands[:3]))
    for command in commands[3:]:
        ends.command(command)
    assert [ends.taken() for _ in commands] == commands


def test_raw_json_of_a_caller_comes_through(ends: Ends, tmp_path: Path) -> None:
    ends.command(make_run(tmp_path, "a1", with_raw()))
    run = ends.taken()
    assert isinstance(run, Run)
    raw = run.request.recorded.passed_through["metadata"]
    assert msgspec.json.decode(raw) == {"z": [1, None], "a": "b"}


def test_reports_go_up_in_order_and_equal(ends: Ends) -> None:
    reports: list[Report] = [
        Beat(steps=1, rss_bytes=2),
        TextPiece(attempt_id="a1", text="Grüße 👋\x00", tokens=1),
        Finished(attempt_id="a1", artifacts=(), receipt=Receipt(seed=2**53 - 1)),
    ]
    for report in reports:
        ends.pipe.send(report)
    assert ends.reports(len(reports)) == reports


def test_reports_that_wait_go_up_in_one_frame(ends: Ends, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/later"
    pod = ends.context.socket(zmq.PAIR)
    pod.setsockopt(zmq.RCVTIMEO, int(WAIT_S * 1000))
    pod.bind(address)
    pipe = PodPipe(address, ends.inbox.put)
    for step in range(3):
        pipe.send(Beat(steps=step, rss_bytes=0))
    pipe.start()
    lines = pod.recv().split(b"\n")
    assert [msgspec.json.decode(line)["steps"] for line in lines] == [0, 1, 2]
    pipe.close()
    pod.close()


def test_many_threads_may_send_and_each_keeps_its_order(ends: Ends) -> None:
    def chatter(name: str) -> None:
        for step in range(500):
            ends.pipe.send(Progress(attempt_id=name, stage="s", step=step, steps=500, fraction=0.5))

    threads = [Thread(target=chatter, args=(f"a{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    told = only(ends.reports(8 * 500), Progress)
    for thread in threads:
        thread.join()
    for number in range(8):
        steps = [report.step for report in told if report.attempt_id == f"a{number}"]
        assert steps == [*range(500)]


def test_closing_sends_what_is_left(ends: Ends) -> None:
    for step in range(500):
        ends.pipe.send(Beat(steps=step, rss_bytes=0))
    ends.pipe.close()
    assert [beat.steps for beat in only(ends.reports(500), Beat)] == [*range(500)]
    ends.pipe.send(Beat(steps=0, rss_bytes=0))  # too late, and harmless
    assert ends.inbox.empty()


def test_a_pod_that_goes_is_noticed(ends: Ends) -> None:
    ends.pipe.send(Beat(steps=1, rss_bytes=0))
    assert ends.reports(1) == [Beat(steps=1, rss_bytes=0)]
    ends.leave()
    lost = ends.taken()
    assert isinstance(lost, PodLost)
    assert "gone" in lost.reason


def test_a_pod_that_was_never_there_is_noticed(tmp_path: Path) -> None:
    inbox: SimpleQueue[Command | PodLost] = SimpleQueue()
    pipe = PodPipe(f"ipc://{tmp_path}/nobody", inbox.put)
    pipe.start()
    assert isinstance(inbox.get(timeout=WAIT_S), PodLost)
    pipe.close()


@pytest.mark.parametrize("frame", [b"", b"{}", b'{"message":"fly"}', b"\x81\xa1a\x01"])
def test_a_frame_that_is_no_command_ends_the_pipe(frame: bytes, ends: Ends) -> None:
    ends.pod.send(frame)
    lost = ends.taken()
    assert isinstance(lost, PodLost)
    assert "no command" in lost.reason
    with pytest.raises(msgspec.DecodeError):
        decode_commands(frame)


def test_a_report_is_one_line_of_json() -> None:
    assert encode_report(Beat(steps=1, rss_bytes=2)) == (
        b'{"message":"beat","steps":1,"rss_bytes":2,"loading":false}'
    )
