"""One attempt, from a Run command to its one outcome. Read this file first."""

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import OurvidzError, StopRequested, WorkerLost
from ourvidz_worker.domain.messages import Computed, Outcome, Run
from ourvidz_worker.engines import Engine, Task
from ourvidz_worker.telemetry.log import Action
from ourvidz_worker.worker.account import Account
from ourvidz_worker.worker.gate import AttemptGate

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ports:
    """What an attempt needs of its worker; `peak_rss` tells the process's peak in bytes."""

    engine: Engine[Any]
    gate: AttemptGate
    clock: Clock
    peak_rss: Callable[[], int]


Attempt = Generator[Computed, None, Outcome]


def run_attempt(run: Run, ports: Ports) -> Attempt:
    """Run one request once: a Run command in, exactly one Outcome out, on every path but one.

    Raises `WorkerLost` when the engine has lost a process of its own that it cannot do without.

    Up to `yield` it computes on the device. What follows is work for the CPU alone: it may go on
    in another thread, while the next attempt computes.
    """
    account = Account(run, ports.clock, ports.engine.describe, ports.peak_rss)
    gate, task = ports.gate, task_of(run)
    try:
        gate.open()
        gate.ask()  # it may have been stopped while it waited
        work = ports.engine.begin(task)
        for stage in ports.engine.stages(task):  # say text encoder, denoiser, VAE
            gate.enter(stage)
            with account.timed(stage.name):
                work = stage.run(work, gate)  # each step asks: go on or stop?
        yield Computed(attempt_id=run.attempt_id)  # the device is free
        gate.leave()
        with account.timed("encode", phase="encode"):
            product = ports.engine.finish(work, task.spool)  # files, made on the CPU
        gate.leave()  # a stop that came meanwhile leaves no files either
        return account.finished(product)
    except StopRequested as stop:
        return account.stopped(stop)
    except WorkerLost:
        raise  # the engine's own process is gone: the worker ends, and whoever waits is told so
    except OurvidzError as error:
        return account.failed(error)
    except Exception as error:  # border 1 of 3
        log.exception(
            "attempt broke",
            extra={"action": Action.ATTEMPT_BROKE, "attempt_id": run.attempt_id},
        )
        return account.failed(OurvidzError(cause=repr(error)))


def advance(attempt: Attempt) -> Computed | Outcome:
    """Go on with an attempt up to where the device is free, or to its end."""
    try:
        return next(attempt)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


def advance_text(attempt: Attempt) -> Outcome:
    """Go on with an attempt at a text to its end.

    What follows the device's work takes a text microseconds: less than another thread would.
    """
    while isinstance(step := advance(attempt), Computed):
        pass
    return step


def task_of(run: Run) -> Task:
    """The engine's part of a Run command; references lie in the spool unless a path says else."""
    spool = Path(run.spool)
    return Task(
        request=run.request,
        seed=run.seed,
        spool=spool,
        references={role: spool / file for role, file in run.references.items()},
    )
