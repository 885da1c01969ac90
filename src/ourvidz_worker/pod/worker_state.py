"""Where a worker stands (contract O-4), as a table."""

from enum import StrEnum


class WorkerState(StrEnum):
    """The states of one lane's worker."""

    STOPPED = "stopped"
    """It has no process: not started yet, unloaded on purpose, or the pod ends."""
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    """It takes no more work, and ends once what runs has left it."""
    BACKOFF = "backoff"
    FAILED = "failed"


#: From each state, the states a worker may move to. Busy is not a state but a count of slots.
WORKER_MOVES: dict[WorkerState, frozenset[WorkerState]] = {
    WorkerState.STOPPED: frozenset({WorkerState.STARTING}),
    WorkerState.STARTING: frozenset(
        {WorkerState.READY, WorkerState.BACKOFF, WorkerState.FAILED, WorkerState.DRAINING}
    ),
    WorkerState.READY: frozenset({WorkerState.BACKOFF, WorkerState.FAILED, WorkerState.DRAINING}),
    WorkerState.BACKOFF: frozenset({WorkerState.STARTING, WorkerState.DRAINING}),
    WorkerState.FAILED: frozenset({WorkerState.STARTING, WorkerState.DRAINING}),
    WorkerState.DRAINING: frozenset({WorkerState.READY, WorkerState.STOPPED}),
}
