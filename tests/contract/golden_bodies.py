"""The bodies of callbacks that `golden/` holds, for every job type and every kind of end.

`python -m tests.contract.golden_bodies` writes the files anew; look at what changed before you
keep it: a client reads exactly these bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ourvidz_worker.callbacks import Teller
from ourvidz_worker.domain.artifact import Artifact, Asset, Metadata
from ourvidz_worker.domain.errors import (
    AttemptError,
    BadReference,
    DeadlinePassed,
    ImageToImageFailed,
    InvalidPrompt,
    ModelLoadFailed,
    OurvidzError,
    OutOfMemory,
    Refused,
    RequestError,
    UploadFailed,
    WorkerLost,
)
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.job import Job, Lease, Token
from ourvidz_worker.domain.job_types import JOB_TYPES, Family, JobType, Media
from ourvidz_worker.domain.messages import Finished
from ourvidz_worker.domain.receipt import Receipt, StageTime
from ourvidz_worker.domain.request import ImageRequest, Request, VideoRequest
from ourvidz_worker.pod.completion import completion
from ourvidz_worker.pod.ending import failure_of, settlement_of
from ourvidz_worker.pod.preparation import Prepared
from ourvidz_worker.pod.recovery import Past
from ourvidz_worker.queue import Settlement
from ourvidz_worker.testing.clock import FakeClock

FOLDER = Path(__file__).parent / "golden"
REFERENCE = "user-library/u1/a.png"
SEED = 1234

FELL_BACK: Metadata = {
    "fallback_used": True,
    "fallback_reason": "REFERENCE_FRAME_ERROR:REFERENCE_EXPIRED",
    "requested_reference_mode": "modify",
}
EXTENDED: Metadata = {
    "enhancement_source": "qwen_base",
    "enhancement_mode": "continuation",
    "original_prompt": "a red fox",
    "enhancement_applied": True,
    "enhanced_prompt": "a red fox in the snow",
    "enhancement_time": 1.25,
}
NOT_EXTENDED: Metadata = {
    "enhancement_source": "qwen_base",
    "enhancement_mode": "operator",
    "original_prompt": "a red fox",
    "enhancement_applied": False,
    "enhancement_error": "TIMEOUT_ERROR",
    "enhancement_time": 60.0,
}

#: Name of a golden file to the job object that it answers, and what the pod found out besides.
COMPLETED: dict[str, tuple[str, dict[str, object], Metadata]] = {
    **{f"{name}": (name, {}, {}) for name in JOB_TYPES},
    "image_batch": ("sdxl_image_fast", {"config": {"num_images": 3}}, {}),
    "image_modify": (
        "sdxl_image_high",
        {
            "metadata": {"reference_image_url": REFERENCE, "reference_mode": "modify"},
            "config": {"denoise_strength": 0.4},
            "negative_prompt": "blurry",
        },
        {},
    ),
    "image_copy_button": (
        "sdxl_image_fast",
        {
            "metadata": {"reference_image_url": REFERENCE, "reference_mode": "modify"},
            "config": {"denoise_strength": 0.05, "guidance_scale": 1.0, "steps": 25},
        },
        {},
    ),
    "image_copy_flag": (
        "sdxl_image_fast",
        {
            "prompt": "",
            "metadata": {"reference_image_url": REFERENCE, "exact_copy_mode": True},
        },
        {},
    ),
    "image_weighted": (
        "sdxl_image_fast",
        {"compel_enabled": True, "compel_weights": "(snow:1.3)"},
        {},
    ),
    "image_fallback": (
        "sdxl_image_fast",
        {"metadata": {"reference_image_url": REFERENCE}, "allow_fallback": True},
        FELL_BACK,
    ),
    "still_subject": ("image_high", {"config": {"image": REFERENCE}}, {}),
    "video_single": ("video_fast", {"config": {"image": REFERENCE}}, {}),
    "video_start": ("video_fast", {"metadata": {"start_reference_url": REFERENCE}}, {}),
    "video_end": ("video_high", {"metadata": {"end_reference_url": REFERENCE}}, {}),
    "video_both": (
        "video_high",
        {"config": {"first_frame": REFERENCE, "last_frame": REFERENCE, "frame_num": 83}},
        {},
    ),
    "video_mapped": (
        "video_fast",
        {"config": {"resolution": "1024x576", "fps": 24}, "metadata": {"duration": 5}},
        {},
    ),
    "video_fallback": (
        "video_fast",
        {"metadata": {"start_reference_url": REFERENCE}, "allow_fallback": True},
        FELL_BACK | {"requested_reference_mode": "start"},
    ),
    "video_extended": ("video7b_fast_enhanced", {}, EXTENDED),
    "video_not_extended": ("video7b_high_enhanced", {}, NOT_EXTENDED),
    "flags_passed_through": (
        "sdxl_image_fast",
        {
            "metadata": {
                "content_type": "adult",
                "unrestricted_mode": True,
                "reference_type": "style",
            }
        },
        {},
    ),
}

#: Name of a golden file to the error it tells of, and the try it came on.
FAILED: dict[str, tuple[OurvidzError, int]] = {
    "failed_invalid_request": (RequestError("type is missing", field="type"), 1),
    "failed_invalid_prompt": (InvalidPrompt(field="prompt"), 1),
    "failed_refused": (Refused(), 1),
    "failed_reference_expired": (BadReference(reason="REFERENCE_EXPIRED"), 1),
    "failed_reference_timeout": (BadReference(reason="REFERENCE_TIMEOUT"), 1),
    "failed_image_pipeline": (ImageToImageFailed(), 1),
    "failed_memory": (OutOfMemory(), 2),
    "failed_load": (ModelLoadFailed(), 2),
    "failed_generation": (AttemptError(), 2),
    "failed_deadline": (DeadlinePassed(), 1),
    "failed_worker": (WorkerLost(), 3),
    "failed_upload": (UploadFailed(), 1),
}


def bodies() -> Mapping[str, bytes]:
    """Every golden file's name and the bytes that are told now."""
    teller, prefixed = _teller(), _teller(bucket_prefix=True)
    lease = _lease("sdxl_image_fast", {})
    told = {
        "processing": teller.processing(lease),
        "progress": teller.progress(lease, 0.4567),
        "bucket_prefix": _ended(prefixed, lease, _completed(lease, {})),
    }
    for name, (kind, fields, facts) in COMPLETED.items():
        lease = _lease(kind, fields)
        told[name] = _ended(teller, lease, _completed(lease, facts))
    for name, (error, tries) in FAILED.items():
        lease = _lease("video_fast", {}, tries=tries)
        stage = "validate" if isinstance(error, RequestError) else "generate"
        failed = failure_of(error, attempt_id="a1", stage=stage)
        told[name] = _ended(teller, lease, settlement_of(failed, lease))
    return told


def write() -> None:
    """Write every golden file."""
    FOLDER.mkdir(exist_ok=True)
    for name, body in bodies().items():
        (FOLDER / f"{name}.json").write_bytes(body)


def _teller(*, bucket_prefix: bool = False) -> Teller:
    return Teller("pod-1", Limits(), FakeClock(1_769_860_800.0), bucket_prefix=bucket_prefix)


def _lease(kind: str, fields: Mapping[str, object], *, tries: int = 1) -> Lease:
    row = JOB_TYPES[kind]
    payload = {"id": "j1", "type": kind, "user_id": "u1", "prompt": "a red fox", **fields}
    job = Job(
        id="j1",
        type=kind,
        user_id="u1",
        lane=row.lane,
        priority=row.priority,
        payload=json.dumps(payload).encode(),
        submitted_at=0.0,
    )
    return Lease(job=job, token=Token(job_id="j1", fence=1), tries=tries, seed=SEED)


def _ended(teller: Teller, lease: Lease, end: Settlement) -> bytes:
    body = teller.ended(lease, end)
    if body is None:
        raise AssertionError("every one of these is told")
    return body


def _completed(lease: Lease, facts: Metadata) -> Settlement:
    """The job as a finished attempt and its stored files settle it."""
    fell_back = bool(facts.get("fallback_used"))
    intake = read_job(lease.job.payload, limits=Limits(), with_references=not fell_back)
    request = intake.request
    prepared = Prepared(
        request=request,
        seed=SEED,
        deadline_s=1.0,
        references={},
        facts=facts,
        fell_back=fell_back,
    )
    artifacts = tuple(
        _artifact(request, intake.job_type, index) for index in range(_count(request))
    )
    finished = Finished(
        attempt_id="a1",
        artifacts=artifacts,
        receipt=_receipt(request, intake.job_type),
        facts={"generation_time": 2.5, "model_name": "checkpoint"},
    )
    assets = tuple(_stored(artifact) for artifact in artifacts)
    times = {"processing_time": 4.0, "queue_wait": 0.5}
    return completion(lease, finished, prepared, assets, past=Past(), times=times)


def _count(request: Request) -> int:
    return request.count if isinstance(request, ImageRequest) else 1


def _receipt(request: Request, row: JobType) -> Receipt:
    effective: Metadata = {}
    if isinstance(request, ImageRequest | VideoRequest):
        effective = {
            "steps": request.steps,
            "effective_steps": request.steps,
            "guidance_scale": request.guidance,
        }
    if isinstance(request, ImageRequest):
        effective |= {"scheduler": "euler", "compel_success": request.weighting}
    if isinstance(request, VideoRequest):
        effective |= {"wan_task": "t2v" if request.mode == "none" else "vace"}
    return Receipt(
        engine=row.family.value,
        model="checkpoint",
        effective=effective,
        stages=(StageTime(stage="denoise", seconds=2.0),),
    )


def _artifact(request: Request, row: JobType, index: int) -> Artifact:
    if isinstance(request, ImageRequest | VideoRequest):
        return _picture_or_clip(request, index)
    text = '{"status":"healthy"}' if row.family is Family.ADMIN else "A red fox, resting."
    metadata: Metadata = {"tokens_generated": 6, "finish_reason": "stop"}
    if row.family is Family.ADMIN:
        metadata = {}
    return Artifact(index=index, media=Media.TEXT, text=text, metadata=metadata)


def _picture_or_clip(request: ImageRequest | VideoRequest, index: int) -> Artifact:
    is_clip = isinstance(request, VideoRequest) and request.frames > 1
    metadata: Metadata = {
        "width": request.width,
        "height": request.height,
        "seed": SEED + index,
    }
    if is_clip and isinstance(request, VideoRequest):
        metadata |= {
            "frame_num": request.frames,
            "fps": 16,
            "duration_seconds": request.frames / 16,
            "codec": "h264",
        }
    return Artifact(
        index=index,
        media=Media.VIDEO if is_clip else Media.IMAGE,
        file=f"{index}.mp4" if is_clip else f"{index}.png",
        media_type="video/mp4" if is_clip else "image/png",
        thumbnail=f"{index}.thumb.webp",
        size_bytes=240_000 if is_clip else 1_500_000 + index,
        metadata=metadata,
    )


def _stored(artifact: Artifact) -> Asset:
    stored = Asset(
        index=artifact.index,
        media=artifact.media,
        media_type=artifact.media_type,
        text=artifact.text,
        size_bytes=artifact.size_bytes,
        metadata=artifact.metadata,
    )
    if artifact.file is None:
        return stored
    return msgspec.structs.replace(
        stored, key=f"u1/j1/{artifact.file}", thumbnail_key=f"u1/j1/{artifact.thumbnail}"
    )


if __name__ == "__main__":
    write()
