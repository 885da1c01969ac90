"""The account of one attempt: how long each stage took, and how it ended."""

import hashlib
import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ourvidz_worker import __version__
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.artifact import Artifact
from ourvidz_worker.domain.errors import (
    BadReference,
    DeadlinePassed,
    ModelLoadFailed,
    OurvidzError,
    StopRequested,
)
from ourvidz_worker.domain.messages import Description, Failed, Finished, Run, Stopped
from ourvidz_worker.domain.receipt import FileDigest, Receipt, StageTime
from ourvidz_worker.domain.request import Request
from ourvidz_worker.engines import Product
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)


class Account:
    """Keeps the books of one attempt and writes its outcome."""

    def __init__(
        self,
        run: Run,
        clock: Clock,
        describe: Callable[[], Description],
        peak_rss: Callable[[], int],
    ) -> None:
        """`describe` tells of the engine when the attempt ends; `peak_rss` is in bytes."""
        self._run = run
        self._clock = clock
        self._describe = describe
        self._peak_rss = peak_rss
        self._stages: list[StageTime] = []
        self._computed_s = 0.0
        self._phase = "validate"

    @contextmanager
    def timed(self, stage: str, *, phase: str = "generate") -> Iterator[None]:
        """Count the time of a stage; an error inside is one of `phase`, in the contract's words."""
        began = self._clock.monotonic()
        self._phase = phase
        yield
        seconds = self._clock.monotonic() - began
        self._computed_s += seconds if phase == "generate" else 0.0
        self._stages.append(StageTime(stage=stage, seconds=round(seconds, 6)))

    def finished(self, product: Product) -> Finished:
        """The good end, with its receipt; `generation_time` is sampling and decoding (7.3)."""
        outcome = Finished(
            attempt_id=self._run.attempt_id,
            artifacts=product.artifacts,
            receipt=self._receipt(product),
            facts={"generation_time": round(self._computed_s, 3), **product.facts},
        )
        msgspec.json.encode(outcome)  # a fact of a type that cannot be told fails here, in time
        return outcome

    def failed(self, error: OurvidzError) -> Failed:
        """The end by an error of ours; its facts go to the log alone."""
        log.warning(
            "attempt failed",
            extra={
                "action": Action.ATTEMPT_FAILED,
                "attempt_id": self._run.attempt_id,
                "code": error.code,
                "stage": self._phase,
                "facts": error.facts,
            },
        )
        return failure(self._run.attempt_id, error, stage=self._phase)

    def stopped(self, stop: StopRequested) -> Stopped | Failed:
        """The end by a stop; a passed deadline is a failure, not a wish."""
        return stopped(self._run.attempt_id, stop.reason, stage=self._phase)

    def _receipt(self, product: Product) -> Receipt:
        description = self._describe()
        spool = Path(self._run.spool)
        return Receipt(
            job_id=self._run.job_id,
            request_sha256=request_digest(self._run.request),
            engine=description.engine,
            model=description.model,
            device=description.device,
            seed=self._run.seed,
            fed=product.fed,
            effective=product.effective,
            differences=(*self._run.request.recorded.differences, *product.differences),
            stages=tuple(self._stages),
            peak_bytes=description.peak_bytes or self._peak_rss(),
            versions=own_versions() | product.versions,
            files=tuple(file for each in product.artifacts for file in _digests(each, spool)),
            warnings=product.warnings,
        )


def failure(attempt_id: str, error: OurvidzError, *, stage: str) -> Failed:
    """An error of ours as an outcome; some errors know better in which stage they belong."""
    if isinstance(error, BadReference):
        stage = "reference"
    elif isinstance(error, ModelLoadFailed):
        stage = "load"
    return Failed(
        attempt_id=attempt_id,
        code=error.code,
        sentence=error.sentence,
        retryable=error.may_retry,
        stage=stage,
        field=error.field,
        reason=error.reason if isinstance(error, BadReference) else None,
    )


def stopped(attempt_id: str, reason: str, *, stage: str = "generate") -> Stopped | Failed:
    """A stop as an outcome: `deadline` is a failure of its own."""
    if reason == "deadline":
        return failure(attempt_id, DeadlinePassed(), stage=stage)
    return Stopped(attempt_id=attempt_id, reason=reason)


def request_digest(request: Request) -> str:
    """SHA-256 of the request in canonical JSON: UTF-8, keys sorted at every level, no spaces."""
    plain = msgspec.json.decode(msgspec.json.encode(request))
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


def own_versions() -> dict[str, str]:
    """What runs every attempt, whatever the engine."""
    return {"ourvidz_worker": __version__, "python": platform.python_version()}


def _digests(artifact: Artifact, spool: Path) -> Iterator[FileDigest]:
    """The main file (or text) and the thumbnail."""
    name = artifact.file or f"{artifact.index}.txt"
    yield FileDigest(name=name, sha256=artifact.sha256, size_bytes=artifact.size_bytes)
    if artifact.thumbnail is not None:
        data = (spool / artifact.thumbnail).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        yield FileDigest(name=artifact.thumbnail, sha256=digest, size_bytes=len(data))
