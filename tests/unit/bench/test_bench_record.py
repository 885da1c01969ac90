"""How the benches count, round and write down."""

from pathlib import Path

import msgspec
import pytest
from bench import record, witness
from bench.record import Record, figure, percentile, rounded, write


def test_a_figure_stands_beside_its_peers() -> None:
    found = figure(200.04, "jobs/s", 10, {"one": 100.0, "none": 0.0})
    assert (found.value, found.unit, found.n) == (200.0, "jobs/s", 10)
    assert {name: (peer.value, peer.ratio) for name, peer in found.peers.items()} == {
        "one": (100.0, 2.0)
    }


@pytest.mark.parametrize(
    ("samples", "percent", "value"),
    [([3.0], 99, 3.0), ([1.0, 2.0, 3.0], 50, 2.0), (list(range(101)), 99, 99.0)],
)
def test_percentiles(samples: list[float], percent: int, value: float) -> None:
    assert percentile(samples, percent) == value


@pytest.mark.parametrize(("value", "told"), [(1234.56, 1235.0), (0.0123456, 0.01235), (0.0, 0.0)])
def test_numbers_say_no_more_than_was_measured(value: float, told: float) -> None:
    assert rounded(value) == told


def test_a_record_says_where_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    file = write(
        "x", {"a": figure(1.0, "s", 1)}, ("msgspec",), ("note",), extra_versions={"r": "7"}
    )
    found = msgspec.json.decode(file.read_bytes(), type=Record)
    assert file.name == "x.json"
    assert {"python", "msgspec", "r"} == found.versions.keys()
    assert "cores" in found.device
    assert (found.notes, found.figures["a"].n) == (("note",), 1)


def test_witnesses_are_read_back(tmp_path: Path) -> None:
    file = tmp_path / "witness"
    assert witness.count(file) == 0
    for kind, number in ((witness.BEGIN, 1), (witness.END, 1), (witness.BEGIN, 1)):
        witness.note(str(file), kind, number)
    assert witness.count(file) == 3
    begins = witness.read(file, witness.BEGIN)
    assert list(begins) == [1]
    assert begins[1] <= witness.read(file, witness.END)[1]
