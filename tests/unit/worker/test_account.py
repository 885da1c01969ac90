"""The account: what a receipt holds, and what each error becomes."""

import hashlib
from pathlib import Path

import msgspec
import pytest
from tests.unit.worker.worker_parts import PICTURE, make_run, with_raw

from ourvidz_worker.domain.artifact import Artifact
from ourvidz_worker.domain.errors import (
    BadReference,
    DeadlinePassed,
    InvalidPrompt,
    ModelLoadFailed,
    OurvidzError,
    OutOfMemory,
    StopRequested,
)
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.messages import Description, Failed, Stopped
from ourvidz_worker.domain.receipt import Difference, FileDigest, StageTime
from ourvidz_worker.engines import Product
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.worker.account import Account, failure, request_digest, stopped


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def describe(peak_bytes: int = 0) -> Description:
    return Description(engine="e", model="m", device="d", peak_bytes=peak_bytes)


def product_in(spool: Path) -> Product:
    """Two artifacts: a picture with a thumbnail, and a text."""
    (spool / "0.thumb.webp").write_bytes(b"small")
    picture = Artifact(
        index=0,
        media=Media.IMAGE,
        file="0.png",
        media_type="image/png",
        thumbnail="0.thumb.webp",
        size_bytes=5,
        sha256=sha256(b"large"),
    )
    text = Artifact(index=1, media=Media.TEXT, text="hi", size_bytes=2, sha256=sha256(b"hi"))
    return Product(
        artifacts=(picture, text),
        effective={"steps": 4},
        facts={"num_images": 1},
        fed={"clip": sha256(b"1,2")},
        differences=(Difference(parameter="p", requested="1", effective="2", reason="r"),),
        warnings=("THUMBNAIL_GENERATION_ERROR",),
        versions={"torch": "2"},
    )


def test_a_receipt_accounts_for_everything(tmp_path: Path) -> None:
    clock, run = FakeClock(), make_run(tmp_path)
    account = Account(run, clock, describe, lambda: 123)
    for stage, seconds in (("text_encoder", 0.5), ("denoise", 3.25)):
        with account.timed(stage):
            clock.jump(seconds)
    with account.timed("encode", phase="encode"):
        clock.jump(1.0)
    product = product_in(Path(run.spool))
    finished = account.finished(product)
    assert finished.attempt_id == "a1"
    assert finished.artifacts == product.artifacts
    assert finished.facts == {"generation_time": 3.75, "num_images": 1}
    receipt = finished.receipt
    assert (receipt.job_id, receipt.seed, receipt.peak_bytes) == ("job-a1", 7, 123)
    assert (receipt.engine, receipt.model, receipt.device) == ("e", "m", "d")
    assert receipt.request_sha256 == request_digest(PICTURE)
    assert receipt.stages == (
        StageTime(stage="text_encoder", seconds=0.5),
        StageTime(stage="denoise", seconds=3.25),
        StageTime(stage="encode", seconds=1.0),
    )
    assert receipt.files == (
        FileDigest(name="0.png", sha256=sha256(b"large"), size_bytes=5),
        FileDigest(name="0.thumb.webp", sha256=sha256(b"small"), size_bytes=5),
        FileDigest(name="1.txt", sha256=sha256(b"hi"), size_bytes=2),
    )
    assert (receipt.fed, receipt.effective) == (product.fed, product.effective)
    assert (receipt.differences, receipt.warnings) == (product.differences, product.warnings)
    assert receipt.versions.keys() >= {"torch", "python", "ourvidz_worker"}


def test_a_device_that_knows_its_peak_goes_first(tmp_path: Path) -> None:
    account = Account(make_run(tmp_path), FakeClock(), lambda: describe(9_000), lambda: 123)
    finished = account.finished(Product(artifacts=(), effective={}))
    assert finished.receipt.peak_bytes == 9_000


def test_a_fact_that_cannot_be_told_fails_inside_the_border(tmp_path: Path) -> None:
    account = Account(make_run(tmp_path), FakeClock(), describe, lambda: 0)
    wrong: dict[str, object] = {"size": object()}
    with pytest.raises(TypeError):
        account.finished(Product(artifacts=(), effective=wrong))  # type: ignore[arg-type]


def test_the_digest_of_a_request_does_not_depend_on_how_it_was_written() -> None:
    request = with_raw()
    same = msgspec.json.decode(
        msgspec.json.encode(request).replace(
            b'{"z": [1, null], "a": "b"}', b'{ "a":"b","z":[1,null]}'
        ),
        type=type(request),
    )
    assert request_digest(request) == request_digest(same)
    assert request_digest(request) != request_digest(PICTURE)
    plain = msgspec.json.encode(msgspec.to_builtins(PICTURE), order="sorted")
    assert request_digest(PICTURE) == sha256(plain)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OutOfMemory(), ("OOM_ERROR", True, "generate", None, None)),
        (InvalidPrompt(field="prompt"), ("INVALID_PROMPT", False, "generate", "prompt", None)),
        (ModelLoadFailed(), ("MODEL_LOAD_ERROR", True, "load", None, None)),
        (OurvidzError(), ("INTERNAL_ERROR", True, "generate", None, None)),
        (
            BadReference(reason="REFERENCE_TIMEOUT"),
            ("REFERENCE_FRAME_ERROR", True, "reference", None, "REFERENCE_TIMEOUT"),
        ),
    ],
)
def test_errors_become_failures(
    error: OurvidzError, expected: tuple[str, bool, str, str | None, str | None]
) -> None:
    failed = failure("a1", error, stage="generate")
    found = (failed.code, failed.retryable, failed.stage, failed.field, failed.reason)
    assert found == expected
    assert failed.sentence == error.sentence


def test_an_error_belongs_to_the_stage_in_which_it_came(tmp_path: Path) -> None:
    account = Account(make_run(tmp_path), FakeClock(), describe, lambda: 0)
    stages = [account.failed(OutOfMemory()).stage]
    with account.timed("denoise"):
        stages.append(account.failed(OutOfMemory()).stage)
    with account.timed("encode", phase="encode"):
        stages.append(account.failed(OutOfMemory()).stage)
    assert stages == ["validate", "generate", "encode"]


def test_a_stop_is_a_wish_and_a_deadline_a_failure(tmp_path: Path) -> None:
    account = Account(make_run(tmp_path), FakeClock(), describe, lambda: 0)
    for reason in ("cancelled", "draining"):
        assert account.stopped(StopRequested(reason)) == Stopped(attempt_id="a1", reason=reason)
    late = stopped("a1", "deadline")
    assert isinstance(late, Failed)
    assert (late.code, late.sentence) == (DeadlinePassed.code, DeadlinePassed().sentence)
