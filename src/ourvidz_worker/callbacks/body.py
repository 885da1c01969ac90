"""The exact bodies of callbacks (contract 7.1): three states, and nothing the client must not get.

The client merges `metadata` over what it knows of the job, `null` included, so that absent is
better than empty.
"""

from collections.abc import Mapping, Sequence

import msgspec

from ourvidz_worker.callbacks.assets import asset_of
from ourvidz_worker.callbacks.metadata import Done, metadata_of
from ourvidz_worker.domain.artifact import Facts
from ourvidz_worker.domain.times import rfc3339

MAX_MESSAGE = 200
"""Characters of `error_message`, which the client shows as it is."""

STAGES = frozenset(
    {"decode", "validate", "admission", "reference", "load", "generate", "encode", "upload"}
)

#: What a failed callback says (K-3); other facts stay with us.
FAILED_KEYS = (
    "error_type",
    "error_code",
    "error_reason",
    "retryable",
    "stage",
    "job_type",
    "attempts",
)


def processing_body(job_id: str, *, worker_id: str) -> bytes:
    """Work begins."""
    return _encode(job_id, worker_id, "processing", assets=[], message=None)


def progress_body(job_id: str, *, worker_id: str, fraction: float) -> bytes:
    """Work goes on: `fraction` (0..1) of it is done (K-10)."""
    said = {"metadata": {"progress": round(fraction, 3)}}
    return _encode(job_id, worker_id, "processing", assets=[], message=None, last=said)


def completed_body(done: Done, *, worker_id: str, at: float, bucket_prefix: bool = False) -> bytes:
    """Every asset is stored; `at` is wall-clock seconds."""
    return _encode(
        done.job_id,
        worker_id,
        "completed",
        assets=[asset_of(done, asset, bucket_prefix=bucket_prefix) for asset in done.assets],
        message=None,
        last={"completedAt": rfc3339(at), "metadata": metadata_of(done)},
    )


def failed_body(job_id: str, *, worker_id: str, at: float, sentence: str, facts: Facts) -> bytes:
    """The job failed for good. `facts` has the keys of K-3; a stage of our own is `generate`."""
    said: dict[str, object] = {key: facts[key] for key in FAILED_KEYS if facts.get(key) is not None}
    if said.get("stage") not in STAGES:
        said["stage"] = "generate"
    said["timestamp"] = rfc3339(at)
    return _encode(
        job_id,
        worker_id,
        "failed",
        assets=[],
        message=shorten(sentence),
        last={"completedAt": rfc3339(at), "metadata": said},
    )


def shorten(sentence: str) -> str:
    """At most `MAX_MESSAGE` characters on one line, cut between words."""
    line = " ".join(sentence.split())
    if len(line) <= MAX_MESSAGE:
        return line
    head = line[: MAX_MESSAGE - 1]
    return f"{head.rpartition(' ')[0] or head}…"


def _encode(
    job_id: str,
    worker_id: str,
    status: str,
    *,
    assets: Sequence[Mapping[str, object]],
    message: str | None,
    last: Mapping[str, object] | None = None,
) -> bytes:
    head = {"job_id": job_id, "worker_id": worker_id, "status": status}
    return msgspec.json.encode({**head, "assets": assets, "error_message": message, **(last or {})})
