"""The driver's meter on a real card, by hand: `pytest tests/gpu -m gpu` (M-2, O-8)."""

import asyncio
import subprocess
import sys

import pytest

from ourvidz_worker.domain.memory import GIB, MIB
from ourvidz_worker.residency.nvml import NvmlMeter

pytestmark = [pytest.mark.gpu]

HOLD = """
import sys, torch
held = torch.empty({size}, dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
print("held", flush=True)
sys.stdin.readline()
"""


def test_what_another_process_takes_and_gives_back_is_seen() -> None:
    """M-2, M-4: a process's end frees its memory, as the device itself shows."""
    meter = NvmlMeter()
    before = meter.read_now()
    assert before is not None
    assert 0 < before.free_bytes <= before.total_bytes
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(size=4 * GIB)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    during = meter.read_now()
    holder.communicate("\n")
    after = meter.read_now()
    assert during is not None
    assert after is not None
    assert before.free_bytes - during.free_bytes >= 4 * GIB
    assert abs(after.free_bytes - before.free_bytes) < 64 * MIB


def test_the_driver_describes_the_card() -> None:
    """O-8."""
    told = asyncio.run(NvmlMeter().describe())
    assert set(told) == {"device", "utilisation", "temperature"}
    assert "NVIDIA" in str(told["device"])
