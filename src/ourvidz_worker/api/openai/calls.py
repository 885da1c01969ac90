"""Calls of tools in a model's text: read as they come, whole or not at all."""

import msgspec

from ourvidz_worker.domain.request import CALL_BEGIN, CALL_END


class CallObject(msgspec.Struct, frozen=True, kw_only=True):
    """What stands between the marks of a call."""

    name: str
    arguments: msgspec.Raw


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a model wrote; `arguments` is a JSON object's text as it was written."""

    name: str
    arguments: str


class CallReader:
    """Parts a text that comes in pieces into text and calls.

    From a begin mark on, the text is held back until the end mark. What lies between is a call if
    it is one, else text like any other, marks included.
    """

    def __init__(self) -> None:
        """Nothing has come."""
        self._held = ""
        self._in_call = False

    def take(self, piece: str) -> list[str | Called]:
        """What is certain now."""
        self._held += piece
        found: list[str | Called] = []
        while True:
            mark = CALL_END if self._in_call else CALL_BEGIN
            before, at, after = self._held.partition(mark)
            if not at:
                break
            found.append(_read(before, at) if self._in_call else before)
            self._held, self._in_call = after, not self._in_call
        if not self._in_call:
            keep = _overlap(self._held, CALL_BEGIN)
            found.append(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
        return [item for item in found if item]

    def end(self) -> list[str | Called]:
        """The rest; a call that lacks its end mark alone is one too."""
        held, self._held = self._held, ""
        found = _read(held, "") if self._in_call else held
        return [found] if found else []


def _read(text: str, end: str) -> str | Called:
    try:
        found = msgspec.json.decode(text, type=CallObject)
        msgspec.json.decode(found.arguments, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return f"{CALL_BEGIN}{text}{end}"
    return Called(name=found.name, arguments=bytes(found.arguments).decode())


def _overlap(text: str, mark: str) -> int:
    """How many last characters of `text` are the first of `mark`."""
    longest = min(len(text), len(mark) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(mark[:size])), 0)
