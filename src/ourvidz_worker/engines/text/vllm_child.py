"""What runs inside vLLM's own process (`EngineCore`): it never outlives ours.

vLLM's process is our child, but vLLM ties it to us by sockets alone, and those tell it nothing
when we are killed: it would keep the card's memory for ever. The kernel is asked to end it.
"""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

log = logging.getLogger(__name__)

NO_MEMORY = 17
"""The exit code of a process that ran out of the card's memory; vLLM's error names it."""

NO_MEMORY_SIGN = "out of memory"

_PR_SET_PDEATHSIG = 1


def make_worker(**arguments: Any) -> Any:  # noqa: ANN401 - vLLM's own arguments, passed through
    """vLLM's worker, bound to the life of the process that started this one.

    Named in `worker_cls`; vLLM calls it before it touches the card.
    """
    die_with_parent()
    torch: Any = import_module("torch")
    plain: Any = import_module("vllm.v1.worker.gpu_worker").Worker

    class BoundWorker(plain):  # type: ignore[misc]
        """vLLM's worker beside other users of the card."""

        def load_model(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - passed through
            """Read the weights."""
            return exit_without_memory(super().load_model, *given, **named)

        def initialize_from_config(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401
            """Take the cache's memory."""
            return exit_without_memory(super().initialize_from_config, *given, **named)

        def sleep(self, level: int = 1) -> None:
            """Leave the card."""
            forgive_others(super().sleep, level)

        def free_bytes(self) -> int:
            """What the card has free, whoever uses the rest."""
            free: int = torch.cuda.mem_get_info()[0]
            return free

    return BoundWorker(**arguments)


def exit_without_memory(step: Callable[..., Any], *given: Any, **named: Any) -> Any:  # noqa: ANN401
    """Run a step of the start; end the process with `NO_MEMORY` when the card has none left.

    The exit code is the one word that reaches the process which waits for the start.
    """
    try:
        return step(*given, **named)
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if NO_MEMORY_SIGN not in str(error):
            raise
        log.exception("the card has no memory left")
        raise SystemExit(NO_MEMORY) from None


def forgive_others(sleep: Callable[[int], None], level: int) -> None:
    """Sleep; that another process took memory meanwhile is no failure.

    vLLM compares the whole card before and after, once everything is done.
    """
    try:
        sleep(level)
    except AssertionError as error:
        if "Memory usage increased" not in str(error):
            raise
        log.warning("another process took memory during a sleep")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies; leave when it is dead already."""
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    # Asked after the call: a parent that died before it sends no signal any more.
    if os.getppid() != parent.pid:
        raise SystemExit(0)
