"""Sizes in pixels, in the forms callers write them."""

import re
from typing import NamedTuple

from ourvidz_worker.domain.intake.fields import Fields, wrong

MAX_ASKED = 16_384
"""Longest side that is understood at all; what a model takes is checked after this."""

_SIZE = re.compile(r"([1-9][0-9]{0,4})\s*[xX*]\s*([1-9][0-9]{0,4})")
_ASPECT = re.compile(r"([1-9][0-9]{0,4})\s*:\s*([1-9][0-9]{0,4})")


class Size(NamedTuple):
    """A size asked for, and the names of the fields that gave its sides."""

    width: int
    height: int
    fields: tuple[str, str]


def first_size(fields: Fields, *sources: str | tuple[str, str]) -> Size | None:
    """The size given by the first source: a field with a text, or a pair of fields.

    Later sources are not looked at, so that a leftover in them does no harm.
    """
    size: Size | None = None
    for source in sources:
        for name in (source,) if isinstance(source, str) else source:
            fields.peek(name)
        if size is None and isinstance(source, str):
            size = size_of_text(fields, source)
        elif size is None and not isinstance(source, str):
            size = size_of_pair(fields, *source)
    return size


def size_of_pair(fields: Fields, width: str, height: str) -> Size | None:
    """The size given by two fields. Raises `RequestError` when only one of them is given."""
    sides = [fields.integer(name, low=1, high=MAX_ASKED) for name in (width, height)]
    if sides == [None, None]:
        return None
    if sides[0] is None or sides[1] is None:
        raise wrong(width if sides[0] is None else height, "given when the other side is")
    return Size(sides[0], sides[1], (width, height))


def size_of_text(fields: Fields, name: str) -> Size | None:
    """The size given as `WxH` or `W*H`."""
    return _parse(fields, name, _SIZE, "a size such as 1024x576")


def aspect_of_text(fields: Fields, name: str) -> Size | None:
    """The aspect given as `W:H`; its numbers mean nothing but their ratio."""
    return _parse(fields, name, _ASPECT, "an aspect such as 16:9")


def _parse(fields: Fields, name: str, form: re.Pattern[str], rule: str) -> Size | None:
    text = fields.text(name)
    if text is None or text == "":
        return None
    match = form.fullmatch(text.strip())
    if match is None:
        raise wrong(name, rule)
    return Size(int(match[1]), int(match[2]), (name, name))
