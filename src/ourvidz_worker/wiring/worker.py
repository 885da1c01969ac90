"""The worker process: `python -m ourvidz_worker.wiring.worker SPEC`, started by the pod alone.

The one argument is a `WorkerSpec` as JSON. Exit codes: 0 drained, 1 a bad argument, 3 the engine
could not be loaded, 4 the pod is gone.
"""

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Sequence
from queue import SimpleQueue
from types import FrameType

from ourvidz_worker.clock import SystemClock
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.messages import Description, Drain
from ourvidz_worker.engines import give_back_caches, make_engine
from ourvidz_worker.telemetry.log import Action, start_logging
from ourvidz_worker.wiring.worker_spec import WorkerSpec, read_spec
from ourvidz_worker.worker.lifeline import die_with_parent
from ourvidz_worker.worker.main import POD_LOST, Event, Worker
from ourvidz_worker.worker.pipe import PodPipe
from ourvidz_worker.worker.threads import real_threads

log = logging.getLogger("ourvidz_worker.wiring.worker")  # here `__name__` is `__main__`

BAD_ARGUMENT = 1


def main(arguments: Sequence[str]) -> int:
    """Be a worker until drained; the exit code."""
    start_logging()
    faulthandler.enable()
    try:
        (argument,) = arguments or ("",)
        spec = read_spec(argument)
    except (ConfigError, ValueError):
        log.exception("bad argument", extra={"action": Action.BAD_ARGUMENT})
        return BAD_ARGUMENT
    if not die_with_parent(spec.parent_pid):
        return POD_LOST
    inbox: SimpleQueue[Event] = SimpleQueue()
    _obey_signals(inbox, spec.drain_s)
    pipe = PodPipe(spec.address, inbox.put)
    worker = Worker(
        lambda: make_engine(spec.engine, spec.settings),
        outline_of(spec),
        send=pipe.send,
        inbox=inbox,
        clock=SystemClock(),
        threads=real_threads(),
        trim=give_back_caches,
    )
    pipe.start()
    code = worker.serve()
    pipe.close()
    return code


def outline_of(spec: WorkerSpec) -> Description:
    """What can be said of the engine before it is loaded; a model by its name, not its path."""
    model = spec.settings.model.name if spec.settings.model else ""
    return Description(
        engine=spec.engine, model=model, device=spec.settings.device, details={"loading": True}
    )


def _obey_signals(inbox: SimpleQueue[Event], drain_s: float) -> None:
    """A terminal's Ctrl-C is the pod's business; SIGTERM drains, a second one ends at once."""
    graces = [drain_s]

    def drain(_signal: int, _frame: FrameType | None) -> None:
        inbox.put(Drain(grace_s=graces.pop() if graces else 0.0))

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, drain)


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    logging.shutdown()
    sys.stderr.flush()
    # An engine that hangs in a thread must not keep the process: leave without joining threads.
    os._exit(exit_code)
