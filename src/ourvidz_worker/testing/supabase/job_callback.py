"""The function that takes callbacks: rows change, assets appear, as the application does it."""

import hashlib
import hmac
import json
import secrets
from typing import Any

import psycopg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.testing.supabase.state import State

STATES = frozenset({"processing", "completed", "failed"})
MEDIA = {"png": ("image", "image/png"), "mp4": ("video", "video/mp4")}
"""The client derives the kind of a file from its extension alone (U-1)."""

BUCKET = "workspace-temp"


async def take(state: State, request: Request) -> Response:
    """`POST /functions/v1/job-callback`; C2 demands a valid signature over the exact bytes."""
    body = await request.body()
    if state.role_of(request) is None:
        return JSONResponse({"code": 401, "message": "Invalid JWT"}, 401)
    if state.keys.revision == "C2" and not _is_signed(state, request, body):
        return JSONResponse({"error": "Invalid callback signature"}, 401)
    told = _told(body)
    if told is None:
        return JSONResponse({"error": "Missing required fields"}, 400)
    job = await state.database.job(told["job_id"])
    if job is None:
        if state.keys.revision == "C1":
            return JSONResponse({"error": "Job not found"}, 404)
        return JSONResponse({"success": True, "skipped": True})
    if job["status"] == "cancelled":
        return JSONResponse({"success": True, "skipped": True})
    try:
        await _apply(state, job, told)
    except psycopg.Error as error:
        state.complaints.append(f"{told['job_id']}: the database refused ({error.sqlstate})")
        return JSONResponse({"error": "Failed to update job"}, 500)
    return JSONResponse({"success": True})


def _is_signed(state: State, request: Request, body: bytes) -> bool:
    mac = hmac.new(state.keys.callback_secret.encode(), body, hashlib.sha256).hexdigest()
    given = request.headers.get("x-callback-signature", "")
    return hmac.compare_digest(given.encode(), f"sha256={mac}".encode())


def _told(body: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(body)
    except ValueError:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("job_id"), str):
        return None
    return told if told.get("status") in STATES else None


async def _apply(state: State, job: dict[str, Any], told: dict[str, Any]) -> None:
    """Change the row, and before it the assets; what came last counts."""
    now = rfc3339(state.clock.now())
    metadata = job["metadata"] | (told.get("metadata") or {})
    changes: dict[str, Any] = {
        "status": told["status"],
        "metadata": metadata,
        "worker_id": told.get("worker_id"),
        "error_message": told.get("error_message"),
    }
    if told["status"] == "processing":
        changes["started_at"] = now
    else:
        changes["completed_at"] = told.get("completedAt") or now
    if told["status"] == "completed":
        for index, asset in enumerate(told.get("assets") or []):
            await _insert(state, job, asset, index, metadata)
    await state.database.update("jobs", changes, {"id": job["id"]})


async def _insert(
    state: State, job: dict[str, Any], asset: dict[str, Any], index: int, metadata: dict[str, Any]
) -> None:
    prompt = job["original_prompt"] or job["prompt"]
    path = str(asset.get("url") or "").removeprefix(f"{BUCKET}/")
    kind = MEDIA.get(path.rpartition(".")[2])
    if not prompt or kind is None:
        state.complaints.append(f"{job['id']}: asset {index} was dropped")
        return
    if f"{BUCKET}/{path}" not in state.objects:
        state.complaints.append(f"{job['id']}: asset {index} has no file")
    facts = asset.get("metadata") or {}
    inserted = await state.database.insert_asset(
        {
            "user_id": job["user_id"],
            "job_id": job["id"],
            "asset_index": facts.get("asset_index", index),
            "asset_type": kind[0],
            "temp_storage_path": path,
            "thumbnail_path": asset.get("thumbnail_url"),
            "mime_type": kind[1],
            "file_size_bytes": facts.get("file_size_bytes"),
            "generation_seed": facts.get("seed") or 1 + secrets.randbelow(2**31 - 1),
            "original_prompt": prompt,
            "width": facts.get("width"),
            "height": facts.get("height"),
            "duration_seconds": facts.get("duration_seconds"),
            "generation_settings": {**facts, **metadata},
        }
    )
    if not inserted and not await state.database.has_asset(job["id"], path):
        state.complaints.append(f"{job['id']}: asset {index} has the seed or place of another")
