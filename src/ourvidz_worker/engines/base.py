"""The engine: our adapter of a model family, run by a worker one stage after another.

An engine is loaded once and then runs attempts. It knows nothing of jobs, queues or storage: it
is given a decoded request, asks its gate at every step whether to go on, and leaves files in a
spool directory. What runs between two questions to the gate is as small as the library allows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from ourvidz_worker.domain.artifact import Artifact, Metadata
from ourvidz_worker.domain.messages import Description
from ourvidz_worker.domain.receipt import Difference
from ourvidz_worker.domain.request import Request
from ourvidz_worker.domain.text_reply import TokenChoice

Work = TypeVar("Work")
"""An engine's own state of one attempt, passed from stage to stage."""


class Gate(Protocol):
    """Where each step asks for leave; every call may raise `StopRequested`."""

    def step(self, stage: str, step: int, steps: int) -> None:
        """Report that `step` of `steps` is done, and ask whether to go on."""
        ...

    def preview(self, make: Callable[[Path], None], step: int) -> None:
        """Offer a small picture; `make` writes it as WEBP only if one is wanted now."""
        ...

    def text(self, piece: str, tokens: int, choices: tuple[TokenChoice, ...] = ()) -> None:
        """Hand out new text as it comes; `tokens` counts all generated so far.

        `choices` are the tokens since the last piece, where their chances were asked for.
        """
        ...

    def ask(self) -> None:
        """Ask whether to go on, without reporting anything."""
        ...


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine needs to run one attempt.

    `seed` is the base seed (picture i uses `seed + i`); `references` maps a role to a checked
    picture file; `spool` is an empty directory for this attempt's files alone.
    """

    request: Request
    seed: int
    spool: Path
    references: dict[str, Path] = {}


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[Work]):
    """Work on a set of components: `run` takes the work so far and returns it further on.

    `share` is the stage's expected part of the attempt's time, 0..1; the shares add up to 1.
    """

    name: str
    components: tuple[str, ...]
    run: Callable[[Work, Gate], Work]
    share: float


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """What came out: files, the parameters really used, and what each encoder was fed.

    `facts` go to the callback's metadata (7.3), `fed` maps an encoder to the digest of its ids.
    """

    artifacts: tuple[Artifact, ...]
    effective: Metadata
    facts: Metadata = {}
    fed: dict[str, str] = {}
    differences: tuple[Difference, ...] = ()
    warnings: tuple[str, ...] = ()
    versions: dict[str, str] = {}


class Engine(Protocol[Work]):
    """The port every engine implements; its contract suite is `testing.check_engine`.

    Errors are `AttemptError` and `RequestError` classes; a library's own never leave an engine.
    """

    def load(self, tell: Callable[[str, float], None]) -> None:
        """Load and warm up; `tell(part, fraction)` at each part. Raises `ModelLoadFailed`."""
        ...

    def describe(self) -> Description:
        """What this engine is and holds; cheap, no device call that waits."""
        ...

    def begin(self, task: Task) -> Work:
        """Check what can be checked without computing, and return the work to pass on."""
        ...

    def stages(self, task: Task) -> Sequence[Stage[Work]]:
        """The stages of this task, in order."""
        ...

    def finish(self, work: Work, spool: Path) -> Product:
        """Write the files, on the CPU; runs on another thread while the next task computes."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...
