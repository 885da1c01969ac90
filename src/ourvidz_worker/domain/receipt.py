"""Receipts: the account of one attempt, kept with its job and public to its owner."""

import msgspec

from ourvidz_worker.domain.artifact import Metadata


class StageTime(msgspec.Struct, frozen=True, kw_only=True):
    """How long one stage of an attempt took, seconds."""

    stage: str
    seconds: float


class FileDigest(msgspec.Struct, frozen=True, kw_only=True):
    """One produced file and its SHA-256."""

    name: str
    sha256: str
    size_bytes: int


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter that was executed otherwise than asked, and why."""

    parameter: str
    requested: str
    effective: str
    reason: str


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, what was fed to the model, what came out, and how long it took.

    `fed` maps an encoder's name to the SHA-256 of the exact token ids it was given (decimal,
    comma separated). `effective` are the parameters executed; `differences` says where and why
    they are not those asked.
    """

    job_id: str = ""
    attempt: int = 0
    request_sha256: str = ""
    engine: str = ""
    model: str = ""
    device: str = ""
    seed: int | None = None
    fed: dict[str, str] = {}
    effective: Metadata = {}
    differences: tuple[Difference, ...] = ()
    stages: tuple[StageTime, ...] = ()
    peak_bytes: int = 0
    versions: dict[str, str] = {}
    files: tuple[FileDigest, ...] = ()
    warnings: tuple[str, ...] = ()
