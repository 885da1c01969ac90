"""From tokens to text that may be shown: whole characters, outside trimmed, nothing past a stop."""

from collections.abc import Callable, Sequence

BROKEN = "\ufffd"
"""What a decoder gives for bytes that are no whole character (yet)."""

MAX_PARTS = 4
"""A character of UTF-8 has at most four bytes, hence at most four tokens."""

Decode = Callable[[list[int]], str]
"""From ids to text, without control tokens."""


class TextStream:
    """One text as it grows; the pieces it hands out add up to its final `text`.

    White space outside is trimmed (T-5): at the start it is never handed out, at the end it is
    held back until something follows, as is whatever may be the beginning of a stop string. A raw
    continuation is handed out with the white space that parts it from what it continues.
    """

    def __init__(self, decode: Decode, stops: Sequence[str], *, is_raw: bool = False) -> None:
        """Keep the decoder and the strings at which the text ends."""
        self._decode = decode
        self._is_raw = is_raw
        self._stops = tuple(stop for stop in stops if stop)
        self._ids: list[int] = []
        self._base = 0
        self._read = 0
        self._taken = 0
        self._raw = ""
        self._shown = 0
        self.stopped = False

    @property
    def text(self) -> str:
        """The text so far, trimmed."""
        return self._raw.strip()

    @property
    def leading(self) -> str:
        """The white space that was trimmed at the start."""
        return self._raw[: len(self._raw) - len(self._raw.lstrip())]

    def add(self, token: int) -> str:
        """Take one token and return what may be shown now; sets `stopped` at a stop string."""
        self._ids.append(token)
        self._extend(final=False)
        return self._show(len(self._raw) if self.stopped else len(self._raw) - self._held())

    def end(self) -> str:
        """Take no more and return the rest."""
        if not self.stopped:
            self._extend(final=True)
        return self._show(len(self._raw))

    def _extend(self, *, final: bool) -> None:
        now = self._decode(self._ids[self._base :])
        whole = now
        if now.endswith(BROKEN) and not final:
            if len(self._ids) - self._read < MAX_PARTS:
                return
            # Some bytes before belong to no character; the last may still begin one.
            whole = now[:-1]
        self._append(whole[self._taken :])
        self._taken = max(self._taken, len(whole))
        if whole is now:
            # Every character is whole: what comes is decoded behind the tokens since the last
            # such place alone, for some decoders need a token before it.
            self._base, self._read = self._read, len(self._ids)
            self._taken = len(self._decode(self._ids[self._base :]))

    def _append(self, new: str) -> None:
        longest = max(map(len, self._stops), default=1)
        start = max(0, len(self._raw) - longest + 1)
        self._raw += new
        found = [at for stop in self._stops if (at := self._raw.find(stop, start)) >= 0]
        if found:
            self._raw = self._raw[: min(found)]
            self.stopped = True

    def _held(self) -> int:
        """How many last characters may be the beginning of a stop string."""
        lengths = (
            length
            for stop in self._stops
            for length in range(min(len(stop) - 1, len(self._raw)), 0, -1)
            if self._raw.endswith(stop[:length])
        )
        return max(lengths, default=0)

    def _show(self, ready: int) -> str:
        until = len(self._raw[:ready].rstrip())
        begin = self._shown or (0 if self._is_raw else len(self.leading))
        if until <= begin:
            return ""
        self._shown = until
        return self._raw[begin:until]
