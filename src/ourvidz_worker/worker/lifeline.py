"""The lifeline: a worker never outlives its pod, so that no orphan keeps memory (O-5)."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> bool:
    """Have the kernel kill this process when its parent dies; False when it is dead already.

    The kernel watches the thread that started this process, so the pod starts its workers from
    its main thread. Where there is no such call, the end of the pipe alone tells.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    # Asked after the call: a parent that died before it sends no signal any more.
    return os.getppid() == parent_pid
