"""Reading a JSON object by the caller's own field names: strict types, lossless numbers.

A field is named as callers write it: `prompt`, `config.steps`, `metadata.duration`. A field that
is missing and one that is `null` are the same: absent. What is said of a wrong field names it and
the rule, never the value.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeVar

import msgspec

from ourvidz_worker.domain.errors import RequestError

MAX_DEPTH = 64
"""Objects and arrays within each other; the application's own job objects need four."""

MAX_IGNORED = 64
"""Names listed as ignored, each cut to as many characters: callers choose them."""

LEVELS = ("config", "metadata")

Word = TypeVar("Word", bound=str)

#: Names that the contract forbids in an error body (H-22), and the alias that is said instead.
SAID_INSTEAD = {"config.num_inference_steps": "config.steps"}

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")


def read_object(text: bytes | str, *, field: str | None = None) -> dict[str, object]:
    """The JSON object that `text` holds; of equal keys the last wins.

    Raises `RequestError` naming `field` for anything else: no JSON, NaN, bytes that are not
    UTF-8, another JSON value, or more than `MAX_DEPTH` levels.
    """
    name = field or "The job"
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RequestError(f"{name} is not valid JSON", field=field) from error
    if not isinstance(value, dict):
        raise RequestError(f"{name} must be a JSON object", field=field)
    if _deeper_than(value, MAX_DEPTH):
        raise RequestError(f"{name} has more than {MAX_DEPTH} levels", field=field)
    return value


def wrong(name: str, rule: str) -> RequestError:
    """The error for a field that breaks `rule`, ready to be raised."""
    said = SAID_INSTEAD.get(name, name)
    return RequestError(f"{said} must be {rule}", field=said)


class Found(NamedTuple):
    """A field that is given, under the name it was found by."""

    name: str
    value: object


class Fields:
    """A job object on its three levels: top, `config` and `metadata`.

    Every reader takes names in order of precedence and returns None when all are absent. What was
    asked for is remembered: `ignored` lists the rest of `config`.
    """

    def __init__(self, top: Mapping[str, object]) -> None:
        """Take the object apart. Raises `RequestError` for a level that is no object."""
        self._top = top
        self._levels = {level: _level(top, level) for level in LEVELS}
        self._asked: set[str] = set()
        self._passed_over: list[str] = []

    def find(self, *names: str) -> Found | None:
        """The first of `names` that is given; later ones that differ from it count as ignored."""
        found: Found | None = None
        for name in names:
            value = self.peek(name)
            if value is None:
                continue
            if found is None:
                found = Found(name, value)
            elif value != found.value:
                self._passed_over.append(name)
        return found

    def peek(self, name: str) -> object:
        """The raw value of one field, or None; it counts as asked for."""
        self._asked.add(name)
        level, dot, key = name.partition(".")
        return self._levels[level].get(key) if dot else self._top.get(name)

    def without(self, names: Iterable[str]) -> "Fields":
        """The same object without the fields named; they do not count as ignored."""
        gone = set(names)
        levels: dict[str, object] = {
            level: {key: value for key, value in found.items() if f"{level}.{key}" not in gone}
            for level, found in self._levels.items()
        }
        top = {key: value for key, value in self._top.items() if key not in gone}
        return Fields(top | levels)

    def ignore(self, name: str) -> None:
        """List a given field as ignored although it was asked for."""
        self._passed_over.append(name)

    def ignored(self) -> tuple[str, ...]:
        """What had no effect: keys of `config` that nobody asked for, and aliases passed over."""
        config = self._levels["config"]
        unread = (f"config.{key}" for key, value in config.items() if value is not None)
        names = [name for name in unread if name not in self._asked]
        listed = list(dict.fromkeys(names + self._passed_over))
        kept = [name[:MAX_IGNORED] for name in listed[:MAX_IGNORED]]
        more = len(listed) - len(kept)
        return (*kept, f"and {more} more") if more else tuple(kept)

    def text(self, *names: str) -> str | None:
        """A string, as it is."""
        found = self.find(*names)
        if found is None:
            return None
        if not isinstance(found.value, str):
            raise wrong(found.name, "a text")
        return found.value

    def filled(self, *names: str) -> tuple[str, str] | None:
        """The name and the text of the first string that is not empty."""
        found = self.find(*[name for name in names if self.peek(name) != ""])
        if found is None:
            return None
        if not isinstance(found.value, str):
            raise wrong(found.name, "a text")
        return found.name, found.value

    def flag(self, *names: str) -> bool | None:
        """A JSON `true` or `false`; nothing else passes for one."""
        found = self.find(*names)
        if found is None:
            return None
        if not isinstance(found.value, bool):
            raise wrong(found.name, "true or false")
        return found.value

    def choice(self, *names: str, allowed: Sequence[Word]) -> Word | None:
        """One of the strings allowed."""
        found = self.find(*names)
        if found is None:
            return None
        for word in allowed:
            if word == found.value:
                return word
        raise wrong(found.name, f"one of {', '.join(allowed)}")

    def integer(self, *names: str, low: int, high: int) -> int | None:
        """A whole number within both bounds, or a string that is exactly one."""
        found = self.find(*names)
        if found is None:
            return None
        number = whole(found.value)
        if number is None or not low <= number <= high:
            rule = f"{low}" if low == high else f"a whole number from {low} to {high}"
            raise wrong(found.name, rule)
        return number

    def number(self, *names: str, low: float, high: float, above: bool = False) -> float | None:
        """A number within both bounds (`above`: greater than the lower one), or such a string."""
        found = self.find(*names)
        if found is None:
            return None
        number = real(found.value)
        if number is None or not low <= number <= high or (above and number == low):
            bound = f"above {low:g} and at most" if above else f"from {low:g} to"
            raise wrong(found.name, f"a number {bound} {high:g}")
        return number


def whole(value: object) -> int | None:
    """`value` as an integer when nothing is lost by it; a boolean is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        exact = Decimal(value)
        return int(exact) if exact == exact.to_integral_value() else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def real(value: object) -> float | None:
    """`value` as a float when nothing is lost by it; a boolean is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = float(value)
        return number if Decimal(repr(number)) == Decimal(value) else None
    if isinstance(value, int):
        return float(value) if abs(value) <= 1 << 53 else None
    return value if isinstance(value, float) else None


def _level(top: Mapping[str, object], name: str) -> dict[str, object]:
    value = top.get(name)
    if value is None:
        return {}
    if isinstance(value, str):
        return read_object(value, field=name)
    if not isinstance(value, dict):
        raise wrong(name, "an object")
    return value


def _deeper_than(value: object, levels: int) -> bool:
    layer: list[object] = [value]
    for _ in range(levels):
        layer = [child for parent in layer for child in _children(parent) if _holds(child)]
        if not layer:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _holds(value: object) -> bool:
    return isinstance(value, dict | list)
