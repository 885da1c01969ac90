"""Bodies: limits on the way in, and every fault named without an echo."""

import asyncio
import json
from collections.abc import Iterable
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request

from ourvidz_worker.api.bodies import (
    ARRIVAL_S,
    JSON_LIMIT_BYTES,
    MALFORMED,
    MAX_DEPTH,
    NO_DATA,
    NOT_AN_OBJECT,
    THREAD_FROM_BYTES,
    TOO_DEEP,
    decode,
    decode_query,
    parse_object,
    read_bytes,
    read_object,
    read_picture,
)
from ourvidz_worker.domain.errors import (
    OurvidzError,
    PayloadTooLarge,
    RequestError,
    UnsupportedMediaType,
)
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


def a_request(
    chunks: Iterable[bytes] = (), *, headers: dict[str, str] | None = None, stalls: bool = False
) -> Request:
    """A POST whose body comes in chunks, or stops coming after them."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if not stalls:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, object]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    given = {"content-type": "application/json"} if headers is None else headers
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


async def fault(request: Request) -> OurvidzError:
    """The error that reading the JSON in a request raises."""
    with pytest.raises(OurvidzError) as raised:
        await read_object(request, FakeClock())
    return raised.value


async def test_an_object_keeps_its_exact_bytes() -> None:
    raw = b' {"a": [1, {"b": null}], "c": "\\u00e9"} '
    body = await read_object(a_request([raw[:7], raw[7:]]), FakeClock())
    assert body.raw == raw
    assert bytes(body.fields["a"]) == b'[1, {"b": null}]'


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "APPLICATION/JSON; charset=utf-8", "application/merge-patch+json"],
)
async def test_json_media_types(media_type: str) -> None:
    request = a_request([b"{}"], headers={"content-type": media_type})
    assert (await read_object(request, FakeClock())).fields == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/json+html"},
        {"content-type": ""},
        {},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_other_media_types_are_refused(headers: dict[str, str]) -> None:
    assert isinstance(await fault(a_request([b"{}"], headers=headers)), UnsupportedMediaType)


@pytest.mark.parametrize("chunks", [[], [b""], [b" \n\t"], [b"null"]])
async def test_no_data(chunks: list[bytes]) -> None:
    assert (await fault(a_request(chunks))).sentence == NO_DATA


async def test_no_data_needs_no_media_type() -> None:
    assert (await fault(a_request([], headers={}))).sentence == NO_DATA


@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"7", b"true", b"[" * 100_000])
def test_what_is_no_object(raw: bytes) -> None:
    with pytest.raises(RequestError, match=NOT_AN_OBJECT):
        parse_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"a":1}x',
        b'{"a":NaN}',
        b'{"a":[Infinity]}',
        b'{"a":-Infinity}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":01}',
        b'{"a":"\x00"}',
        b"{'a':1}",
        b"a=1",
    ],
)
def test_what_is_no_json(raw: bytes) -> None:
    with pytest.raises(RequestError, match=MALFORMED):
        parse_object(raw)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 300, 50_000])
def test_what_is_too_deep(levels: int) -> None:
    for raw in (b'{"a":' * levels + b"1" + b"}" * levels, nested(b"[", b"]", levels)):
        with pytest.raises(RequestError, match=TOO_DEEP):
            parse_object(raw)


def test_what_is_deep_enough_or_only_looks_so() -> None:
    deepest = nested(b"[", b"]", MAX_DEPTH)
    assert bytes(parse_object(deepest).fields["a"]).count(b"[") == MAX_DEPTH - 1
    for text in ("[" * 999, '\\"[{' * 99, "\\", '\\\\"' + "{" * 99):
        raw = json.dumps({"a": text, "b": [[]] * 99}).encode()
        assert parse_object(raw).raw == raw


def nested(opening: bytes, closing: bytes, levels: int) -> bytes:
    """An object that nests that deep."""
    return b'{"a":' + opening * (levels - 1) + closing * (levels - 1) + b"}"


async def test_a_large_body_is_taken_up_to_the_limit_and_not_beyond() -> None:
    frame = len(b'{"a":""}')
    for size in (THREAD_FROM_BYTES, JSON_LIMIT_BYTES):
        raw = b'{"a":"' + b"x" * (size - frame) + b'"}'
        body = await read_object(a_request([raw]), FakeClock())
        assert len(body.raw) == size
    assert isinstance(await fault(a_request([raw, b" "])), PayloadTooLarge)


@pytest.mark.parametrize("length", [str(JSON_LIMIT_BYTES + 1), "9" * 5000])
async def test_a_declared_length_over_the_limit_is_refused_unread(length: str) -> None:
    headers = {"content-type": "application/json", "content-length": length}
    request = a_request([b"{}"], headers=headers, stalls=True)
    assert isinstance(await fault(request), PayloadTooLarge)


@pytest.mark.parametrize("length", ["2", "-5", "two", "²"])
async def test_bytes_are_counted_whatever_the_length_says(length: str) -> None:
    request = a_request([b"xx", b"xx"], headers={"content-length": length})
    with pytest.raises(PayloadTooLarge):
        await read_bytes(request, 3, FakeClock())


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    clock = FakeClock()
    reading = asyncio.ensure_future(read_object(a_request([b"{"], stalls=True), clock))
    await clock.advance(ARRIVAL_S)
    with pytest.raises(RequestError, match="did not arrive"):
        await reading


async def test_a_caller_who_leaves_is_told_nothing() -> None:
    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(ClientDisconnect):
        await read_bytes(request, 3, FakeClock())


async def test_pictures() -> None:
    png = {"content-type": "image/png"}
    assert await read_picture(a_request([b"abc"], headers=png), 3, FakeClock()) == b"abc"
    with pytest.raises(PayloadTooLarge):
        await read_picture(a_request([b"abcd"], headers=png), 3, FakeClock())
    with pytest.raises(RequestError, match="empty"):
        await read_picture(a_request([], headers=png), 3, FakeClock())
    with pytest.raises(UnsupportedMediaType, match="picture"):
        await read_picture(
            a_request([b"abc"], headers={"content-type": "image/gif"}), 3, FakeClock()
        )


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the body."""

    share: Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")] = 0
    plain: int = 0


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    """A body."""

    parts: Annotated[list[Inner], Meta(description="a list")] = []
    part: Annotated[Inner, Meta(description="an object")] | None = None
    size: Annotated[int, Meta(ge=1, le=9, description="a whole number from 1 to 9")] = 1


@pytest.mark.parametrize(
    ("raw", "field", "rule"),
    [
        (b'{"size": 0}', "size", "a whole number from 1 to 9"),
        (b'{"size": true}', "size", "a whole number from 1 to 9"),
        (b'{"size": 1e400}', "size", "a whole number from 1 to 9"),
        (b'{"size": "MY SECRET"}', "size", "a whole number from 1 to 9"),
        (b'{"part": {"share": "MY SECRET"}}', "part.share", "a number from 0 to 1"),
        (b'{"part": ["MY SECRET"]}', "part", "an object"),
        (b'{"parts": [{}, {"share": 2}]}', "parts.share", "a number from 0 to 1"),
        (b'{"parts": {}}', "parts", "a list"),
        (b'{"part": {"plain": "x"}}', "part.plain", "of another type"),
    ],
)
def test_a_fault_names_the_field_and_its_rule(raw: bytes, field: str, rule: str) -> None:
    with pytest.raises(RequestError) as raised:
        decode(raw, Outer)
    assert raised.value.field == field
    assert raised.value.sentence == f"The field {field} must be {rule}."


def test_a_path_may_have_a_sentence_of_its_own() -> None:
    with pytest.raises(RequestError, match="Shares!") as raised:
        decode(b'{"parts": [{"share": 2}]}', Outer, {"parts[].share": "Shares!"})
    assert raised.value.field == "parts"


@pytest.mark.parametrize(("raw", "sentence"), [(b"[]", NOT_AN_OBJECT), (b"{", MALFORMED)])
def test_what_cannot_be_a_body_at_all(raw: bytes, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        decode(raw, Outer)


@pytest.mark.parametrize("size", ["0", "10", "x", "", "9" * 5000, "1e1", "true"])
def test_query_parameters_are_named_too(size: str) -> None:
    assert decode_query({"size": "3", "other": "x"}, Outer).size == 3
    with pytest.raises(RequestError, match="whole number from 1 to 9") as raised:
        decode_query({"size": size}, Outer)
    assert raised.value.field == "size"
