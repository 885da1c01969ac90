"""Files of a job as bytes, its receipt, and pictures that jobs may refer to; all need a key."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from ourvidz_worker.api.bodies import decode_query, read_picture
from ourvidz_worker.api.call import Call
from ourvidz_worker.api.routes.jobs import find
from ourvidz_worker.api.views import Reference
from ourvidz_worker.domain.errors import NotFound, RequestError
from ourvidz_worker.domain.ids import ID_RULE, is_id

MOST_INDEX_DIGITS = 3

PREVIEW_TYPE = "image/webp"


class ReferenceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose picture it is."""

    user_id: Annotated[str, Meta(description=ID_RULE)] = ""


async def main_file(call: Call) -> Response:
    """A stored picture or clip, as it was stored."""
    record = await find(call)
    index = _index(call)
    digests = [asset.sha256 for asset in record.assets if asset.index == index]
    tag = f'"{digests[0]}"' if digests and digests[0] else None
    if tag is not None and tag in _known_tags(call):
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "private"})
    return await _file(call, index, tag, thumbnail=False)


async def thumbnail(call: Call) -> Response:
    """The small picture of a stored file, WEBP."""
    await find(call)
    return await _file(call, _index(call), None, thumbnail=True)


async def preview(call: Call) -> Response:
    """The newest preview of a running job, WEBP."""
    record = await find(call)
    picture = await call.site.jobs.preview(record.job.id)
    return Response(picture, 200, {"Cache-Control": "no-store"}, PREVIEW_TYPE)


async def receipt(call: Call) -> Response:
    """The account of the job's last attempt: what was asked, what was fed, what came out."""
    record = await find(call)
    if record.receipt is None:
        raise NotFound("That job has no receipt yet.")
    return call.reply(record.receipt)


async def keep_reference(call: Call) -> Response:
    """Store a picture (PNG, JPEG or WEBP) that the user's jobs may name."""
    query = decode_query(call.request.query_params, ReferenceQuery)
    if not is_id(query.user_id):
        raise RequestError(f"The user_id must be {ID_RULE}.", field="user_id")
    settings = call.site.settings
    picture = await read_picture(call.request, settings.max_reference_bytes, call.site.clock)
    key = await call.site.jobs.keep_reference(query.user_id, picture)
    return call.reply(Reference(reference=key), 201)


async def _file(call: Call, index: int, tag: str | None, *, thumbnail: bool) -> Response:
    job_id = call.name("job_id")
    content, media_type = await call.site.jobs.asset(job_id, index, thumbnail=thumbnail)
    headers = {"Cache-Control": "private"} | ({} if tag is None else {"ETag": tag})
    return Response(content, 200, headers, media_type or "application/octet-stream")


def _index(call: Call) -> int:
    text = call.name("index")
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_INDEX_DIGITS):
        raise NotFound
    return int(text)


def _known_tags(call: Call) -> list[str]:
    header = call.request.headers.get("if-none-match", "")
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]
