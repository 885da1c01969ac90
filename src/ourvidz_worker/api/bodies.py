"""Bodies: bytes off the wire within limits, then JSON into a type, every fault named (H-3, H-5)."""

import asyncio
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import TypeVar, get_args, get_type_hints

import msgspec
from starlette.requests import ClientDisconnect, Request

from ourvidz_worker.api.patience import unless
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import PayloadTooLarge, RequestError, UnsupportedMediaType

JSON_LIMIT_BYTES = 4 * 1024 * 1024
"""H-3."""

MAX_DEPTH = 64
"""Levels of nesting; a job object of the contract has five."""

ARRIVAL_S = 60.0
"""A body that takes longer holds its place for nothing: 4 MiB arrive at 70 kB/s."""

THREAD_FROM_BYTES = 64 * 1024
"""Larger bodies are checked on a thread, so that `/health` never waits for them (H-10)."""

PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
"""What a reference may be sent as; its content decides what it is (R-2)."""

NO_DATA = "No JSON data provided"
MALFORMED = "The body is not well-formed JSON."
NOT_AN_OBJECT = "The body must be a JSON object."
NO_RULE = "of another type"
TOO_DEEP = f"The body is nested deeper than {MAX_DEPTH} levels."

Fields = Mapping[str, msgspec.Raw]
"""The members of a JSON object, each still as it was written."""

Body = TypeVar("Body")

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_INDEX = re.compile(r"\[[^\]]*\]")
_PATH = re.compile(r" - at `\$\.?(.*)`$", re.DOTALL)


class JsonObject(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object as it came: its exact bytes, and its members."""

    raw: bytes
    fields: dict[str, msgspec.Raw]


async def read_object(request: Request, clock: Clock) -> JsonObject:
    """The JSON object in the body. Raises `RequestError`, `PayloadTooLarge` or
    `UnsupportedMediaType`.
    """
    media_type = _media_type(request)
    if media_type is not None and not _is_json(media_type):
        raise UnsupportedMediaType
    raw = await read_bytes(request, JSON_LIMIT_BYTES, clock)
    if not raw.strip():
        raise RequestError(NO_DATA)
    if media_type is None:
        raise UnsupportedMediaType
    if len(raw) < THREAD_FROM_BYTES:
        return parse_object(raw)
    return await asyncio.to_thread(parse_object, raw)


async def read_optional_object(request: Request, clock: Clock) -> JsonObject:
    """As `read_object`; no body at all is an empty object, whatever type it claims."""
    raw = await read_bytes(request, JSON_LIMIT_BYTES, clock)
    if not raw.strip():
        return JsonObject(raw=b"{}", fields={})
    media_type = _media_type(request)
    if media_type is None or not _is_json(media_type):
        raise UnsupportedMediaType
    return await asyncio.to_thread(parse_object, raw)


async def read_picture(request: Request, limit: int, clock: Clock) -> bytes:
    """The picture in the body, unchecked. Raises as `read_object` does."""
    if _media_type(request) not in PICTURE_TYPES:
        raise UnsupportedMediaType("The body must be a picture: image/png, image/jpeg, image/webp.")
    picture = await read_bytes(request, limit, clock)
    if not picture:
        raise RequestError("The body is empty; it must be a picture.")
    return picture


async def read_bytes(request: Request, limit: int, clock: Clock) -> bytes:
    """The body, at most `limit` bytes, counted as they come whatever `Content-Length` says."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > len(str(limit)) or int(declared) > limit):
        raise PayloadTooLarge
    body = await unless(_collect(request, limit), clock.sleep(ARRIVAL_S))
    if body is None:
        raise RequestError("The body did not arrive in time.")
    return body


def parse_object(raw: bytes) -> JsonObject:
    """The object in `raw`: UTF-8, one JSON object, no NaN, not too deep. Raises `RequestError`."""
    try:
        raw.decode()
        found = msgspec.json.decode(raw, type=dict[str, msgspec.Raw] | None)
    except msgspec.ValidationError as error:
        raise RequestError(NOT_AN_OBJECT) from error
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise RequestError(MALFORMED) from error
    except RecursionError as error:
        raise RequestError(TOO_DEEP) from error
    if found is None:
        raise RequestError(NO_DATA)
    if is_too_deep(raw):
        raise RequestError(TOO_DEEP)
    return JsonObject(raw=raw, fields=found)


def is_too_deep(raw: bytes) -> bool:
    """True when well-formed JSON nests deeper than `MAX_DEPTH`."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return False
    unescaped = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_strings = b"".join(unescaped.split(b'"')[::2])
    brackets = outside_strings.translate(None, _NO_BRACKETS)
    steps = (1 if bracket in b"[{" else -1 for bracket in brackets)
    return any(depth > MAX_DEPTH for depth in accumulate(steps))


def decode(raw: bytes, wanted: type[Body], sentences: Mapping[str, str] | None = None) -> Body:
    """`raw` as a `wanted`. Raises `RequestError` naming the field and its rule.

    A rule is the `description` in the field's annotation; `sentences` maps a path, such as
    `messages[].role`, to a sentence of its own.
    """
    try:
        return msgspec.json.decode(raw, type=wanted)
    except msgspec.ValidationError as error:
        raise fault_of(error, wanted, sentences or {}) from error
    except msgspec.DecodeError as error:
        raise RequestError(MALFORMED) from error


def decode_query(query: Mapping[str, str], wanted: type[Body]) -> Body:
    """Query parameters as a `wanted`. Raises `RequestError` naming the parameter and its rule."""
    try:
        return msgspec.convert(dict(query), wanted, strict=False)
    except msgspec.ValidationError as error:
        raise fault_of(error, wanted, {}) from error


def fault_of(
    error: msgspec.ValidationError, wanted: object, sentences: Mapping[str, str]
) -> RequestError:
    """What the caller is told of a fault: never what they wrote."""
    found = _PATH.search(str(error))
    path = _INDEX.sub("[]", found.group(1)) if found else ""
    field = path.replace("[]", "")
    if not field:
        return RequestError(NOT_AN_OBJECT)
    if path in sentences:
        return RequestError(sentences[path], field=field.partition(".")[0])
    return RequestError(f"The field {field} must be {rule_of(wanted, field)}.", field=field)


def rule_of(wanted: object, path: str) -> str:
    """The rule of a field, as its annotation describes it."""
    rule = NO_RULE
    for name in path.split("."):
        parts = _parts(get_type_hints(wanted, include_extras=True).get(name))
        described = [part.description for part in parts if isinstance(part, msgspec.Meta)]
        rule = next((text for text in described if text), NO_RULE)
        wanted = next((part for part in parts if hasattr(part, "__struct_fields__")), object)
    return rule


def _parts(annotation: object) -> list[object]:
    """An annotation and everything within it, outermost first."""
    return [annotation, *(part for inner in get_args(annotation) for part in _parts(inner))]


def _media_type(request: Request) -> str | None:
    header = request.headers.get("content-type")
    return None if header is None else header.partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )


async def _collect(request: Request, limit: int) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise PayloadTooLarge
    return bytes(body)
