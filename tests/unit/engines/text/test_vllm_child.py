"""What is bound inside vLLM's process: its life to ours, and its errors to an exit code."""

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ourvidz_worker.engines.text.vllm_child import (
    NO_MEMORY,
    die_with_parent,
    exit_without_memory,
    forgive_others,
)
from ourvidz_worker.engines.text.vllm_weights import weights_bytes
from ourvidz_worker.testing.tiny_models import build_qwen2

LONG_S = 60.0
PR_GET_PDEATHSIG = 2

PARENT = """
import multiprocessing, sys
from ourvidz_worker.engines.text.vllm_child import die_with_parent

def child(told):
    die_with_parent()
    told.send(multiprocessing.current_process().pid)
    told.recv()

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    # Not a daemon: nobody but the kernel ends it.
    context.Process(target=child, args=(there,)).start()
    print(here.recv(), flush=True)
    sys.stdin.readline()
"""


def test_a_child_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    """O-5: nothing is left to hold the card's memory, whatever ended the worker."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait(LONG_S)
    # A process's descriptor becomes readable when it has ended.
    assert multiprocessing.connection.wait([child], LONG_S) == [child]
    os.close(child)
    parent.stdin.close()
    parent.stdout.close()


def test_a_process_that_is_nobodys_child_is_left_alone() -> None:
    assert multiprocessing.parent_process() is None
    die_with_parent()
    told = ctypes.c_int(-1)
    assert ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(told), 0, 0, 0) == 0
    assert told.value == 0


def no_room() -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")


def broken() -> None:
    raise RuntimeError("CUDA error: misaligned address")


def test_memory_that_ran_out_becomes_the_exit_code() -> None:
    with pytest.raises(SystemExit) as caught:
        exit_without_memory(no_room)
    assert caught.value.code == NO_MEMORY


def test_another_error_of_a_start_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="misaligned"):
        exit_without_memory(broken)
    assert exit_without_memory(lambda number: number + 1, 1) == 2


def test_memory_that_others_took_is_no_failure_of_a_sleep() -> None:
    levels: list[int] = []

    def sleep(level: int) -> None:
        levels.append(level)
        raise AssertionError("Memory usage increased after sleeping.")

    forgive_others(sleep, 1)
    assert levels == [1]


def test_another_assertion_of_a_sleep_stays_one() -> None:
    def sleep(_level: int) -> None:
        raise AssertionError("Sleep mode is not enabled.")

    with pytest.raises(AssertionError, match="not enabled"):
        forgive_others(sleep, 1)


def test_the_weights_of_the_files_and_of_the_architecture_are_the_same(tmp_path: Path) -> None:
    folder = build_qwen2(tmp_path / "model")
    from_files = weights_bytes(folder, "bfloat16")
    assert from_files == weights_bytes(folder, "bfloat16", from_files=False)
    assert weights_bytes(folder, "float32") == 2 * from_files
    # The files hold single precision, and a header that the card never sees.
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert 0 < 2 * from_files < stored
