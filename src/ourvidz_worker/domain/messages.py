"""What crosses the pipe between the pod and a worker: commands down, reports up.

Artifacts travel as files in the attempt's own spool directory, never through the pipe.
"""

import msgspec

from ourvidz_worker.domain.artifact import Artifact, Metadata
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.domain.request import Request
from ourvidz_worker.domain.text_reply import TokenChoice

# ---- commands -----------------------------------------------------------------------------


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="message"):
    """Run one attempt. `spool` is an absolute, empty directory that belongs to it alone.

    That of a text, which leaves no files, need not exist.
    `references` maps a role (`reference`, `first`, `last`, `image`) to a checked picture file in
    the spool directory. `deadline_s` is the time in work the attempt may take. Of a quiet one
    nobody asks how far it is.
    """

    attempt_id: str
    job_id: str
    request: Request
    seed: int
    spool: str
    deadline_s: float
    references: dict[str, str] = {}
    quiet: bool = False


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel", tag_field="message"):
    """Stop one attempt at its next step; `reason` is `cancelled` or `deadline`."""

    attempt_id: str
    reason: str = "cancelled"


class Describe(msgspec.Struct, frozen=True, kw_only=True, tag="describe", tag_field="message"):
    """Say what the engine is and holds."""


class Trim(msgspec.Struct, frozen=True, kw_only=True, tag="trim", tag_field="message"):
    """Give cached device memory back to the driver; what is computed goes on."""


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag="drain", tag_field="message"):
    """Take no more; stop what runs after `grace_s` seconds, then exit with code 0."""

    grace_s: float


Command = Run | Cancel | Describe | Trim | Drain


# ---- reports ------------------------------------------------------------------------------


class Description(
    msgspec.Struct, frozen=True, kw_only=True, tag="description", tag_field="message"
):
    """What a worker is and holds. `capacity` is how many attempts it runs at once."""

    engine: str
    model: str
    device: str
    capacity: int = 1
    components: dict[str, int] = {}
    """Component name to its size in bytes."""
    peak_bytes: int = 0
    details: Metadata = {}


class Loading(msgspec.Struct, frozen=True, kw_only=True, tag="loading", tag_field="message"):
    """The engine loads; sent at its start and at each part loaded."""

    part: str
    fraction: float


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready", tag_field="message"):
    """The engine can serve now."""

    description: Description


class LoadFailed(msgspec.Struct, frozen=True, kw_only=True, tag="load_failed", tag_field="message"):
    """The engine could not be loaded; the worker exits after this."""

    code: str
    sentence: str


class Beat(msgspec.Struct, frozen=True, kw_only=True, tag="beat", tag_field="message"):
    """The worker's main loop is alive; sent every second. `steps` counts all steps done."""

    steps: int
    rss_bytes: int
    loading: bool = False


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress", tag_field="message"):
    """An attempt moved: `step` of `steps` in `stage`; `eta_s` until the attempt's end."""

    attempt_id: str
    stage: str
    step: int
    steps: int
    fraction: float
    eta_s: float | None = None


class Preview(msgspec.Struct, frozen=True, kw_only=True, tag="preview", tag_field="message"):
    """A small picture of the work so far, a file in the spool directory."""

    attempt_id: str
    file: str
    step: int


class TextPiece(msgspec.Struct, frozen=True, kw_only=True, tag="text", tag_field="message"):
    """New text of a chat attempt, to be shown as it comes; `tokens` counts all so far.

    `choices` are the tokens since the last piece, where their chances were asked for.
    """

    attempt_id: str
    text: str
    tokens: int
    choices: tuple[TokenChoice, ...] = ()


class Computed(msgspec.Struct, frozen=True, kw_only=True, tag="computed", tag_field="message"):
    """The attempt needs the device no more; its files are still being written."""

    attempt_id: str


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished", tag_field="message"):
    """The attempt ended well. `facts` go to the callback's metadata."""

    attempt_id: str
    artifacts: tuple[Artifact, ...]
    receipt: Receipt
    facts: Metadata = {}


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed", tag_field="message"):
    """The attempt ended with an error of ours."""

    attempt_id: str
    code: str
    sentence: str
    retryable: bool
    stage: str = "generate"
    field: str | None = None
    reason: str | None = None


class Stopped(msgspec.Struct, frozen=True, kw_only=True, tag="stopped", tag_field="message"):
    """The attempt left at a step because it was told to; nothing was written."""

    attempt_id: str
    reason: str


Report = (
    Description
    | Loading
    | Ready
    | LoadFailed
    | Beat
    | Progress
    | Preview
    | TextPiece
    | Computed
    | Finished
    | Failed
    | Stopped
)
Outcome = Finished | Failed | Stopped
"""Exactly one of these ends an attempt, on every path inside the worker."""
