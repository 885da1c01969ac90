"""Storage keys as callers name them, and whose they are (contract R-1, R-3, R-4)."""

import re
from urllib.parse import unquote

from ourvidz_worker.domain.errors import BadReference

BUCKETS = ("user-library", "workspace-temp", "reference_images")
"""Buckets that a reference may name without a URL; all of them are private."""

PUBLIC_BUCKETS = frozenset({"avatars", "system_assets"})
"""Everybody may read these, so that nobody owns what lies there."""

MAX_KEY = 1024
MIN_SEGMENTS = 3
"""Bucket, user, file."""

SIGNED = "/storage/v1/object/sign/"
"""Where the path of a signed URL begins."""

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")


def is_key(reference: str) -> bool:
    """True when the reference names one of our buckets and not a URL."""
    return reference.partition("/")[0] in BUCKETS


def read_key(reference: str, user_id: str, *, require_owner: bool = True) -> str:
    """The key `bucket/user/path`, decoded once. Raises `BadReference`.

    The segment after the bucket must be the job's own user, unless `require_owner` is False.
    """
    key = _decoded(reference)
    segments = key.split("/")
    if len(segments) < MIN_SEGMENTS or segments[0] not in BUCKETS or not _is_plain(key):
        raise BadReference(reason="REFERENCE_URL_BLOCKED")
    if require_owner and segments[1] != user_id:
        raise BadReference(reason="REFERENCE_FORBIDDEN")
    return key


def read_signed(path: str, user_id: str, *, require_owner: bool = True) -> str:
    """The key behind the path (with query) of a signed URL of our storage. Raises `BadReference`.

    Of a private bucket the job's own user alone may be read for (R-4); a public one has no owner.
    """
    key = _decoded(path.partition("?")[0].removeprefix(SIGNED))
    bucket, *rest = key.split("/")
    if not rest or not _is_plain(key):
        raise BadReference(reason="REFERENCE_URL_BLOCKED")
    owned = bucket in PUBLIC_BUCKETS or (len(rest) > 1 and rest[0] == user_id)
    if require_owner and not owned:
        raise BadReference(reason="REFERENCE_FORBIDDEN")
    return key


def _decoded(reference: str) -> str:
    try:
        return unquote(reference, errors="strict")
    except UnicodeDecodeError as error:
        raise BadReference(reason="REFERENCE_URL_BLOCKED") from error


def _is_plain(key: str) -> bool:
    if len(key) > MAX_KEY:
        return False
    return all(
        segment not in {"", ".", ".."} and _FORBIDDEN.search(segment) is None
        for segment in key.split("/")
    )
