"""How a bench writes down what it measured."""

import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles

import msgspec

RESULTS = Path(__file__).resolve().parent / "results"

SIGNIFICANT = 4


class PeerFigure(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer measured in the same run; `ratio` is ours divided by it."""

    value: float
    ratio: float


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number; `n` is how many samples it stands for."""

    value: float
    unit: str
    n: int
    peers: dict[str, PeerFigure] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one bench; `notes` says what a reader must know to judge the figures."""

    device: str
    versions: dict[str, str]
    command: str
    date: str
    figures: dict[str, Figure]
    notes: tuple[str, ...] = ()


def figure(value: float, unit: str, n: int, peers: Mapping[str, float] | None = None) -> Figure:
    """A figure beside its peers', rounded to what a measurement can mean."""
    compared = {
        name: PeerFigure(value=rounded(theirs), ratio=rounded(value / theirs))
        for name, theirs in (peers or {}).items()
        if theirs > 0
    }
    return Figure(value=rounded(value), unit=unit, n=n, peers=compared)


def write(
    name: str,
    figures: Mapping[str, Figure],
    distributions: Iterable[str],
    notes: Sequence[str] = (),
    *,
    extra_versions: Mapping[str, str] | None = None,
) -> Path:
    """Write `bench/results/NAME.json` for this process's own command; return its path."""
    record = Record(
        device=device(),
        versions={
            "python": platform.python_version(),
            **{each: version(each) for each in distributions},
            **(extra_versions or {}),
        },
        command=command(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        figures=dict(figures),
        notes=tuple(notes),
    )
    file = RESULTS / f"{name}.json"
    RESULTS.mkdir(exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    return file


def device() -> str:
    """The machine in words: processor, cores, memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB"


def command() -> str:
    """How this process was started, as a person would type it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    start = ["python", "-m", spec.name] if spec else ["python", Path(sys.argv[0]).name]
    return shlex.join([*start, *sys.argv[1:]])


def percentile(samples: Sequence[float], percent: int) -> float:
    """The value below which `percent` of a hundred samples lie, interpolated."""
    if len(samples) == 1:
        return samples[0]
    return quantiles(samples, n=100, method="inclusive")[percent - 1]


def rounded(value: float) -> float:
    """To four significant digits."""
    return float(f"{value:.{SIGNIFICANT}g}")


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
