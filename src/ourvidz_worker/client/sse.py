"""Server-sent events: from bytes as they arrive to whole events, and where to begin again."""

import codecs

import msgspec


class ServerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream; `id` is the last one named, as the format has it."""

    id: str
    event: str
    data: str


class EventParser:
    """Cuts a stream into events; bytes may be split anywhere, even inside a character.

    Follows the event stream format of the HTML standard. `retry_s` is the server's wish for the
    wait before a new connection, None until it has one.
    """

    def __init__(self) -> None:
        """Begin at the start of a stream."""
        self.retry_s: float | None = None
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._rest = ""
        self._id = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Take the next bytes; return the events they complete, in order."""
        text = self._rest + self._decode.decode(chunk)
        held = "\r" if text.endswith("\r") else ""
        lines = text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = lines.pop() + held
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value) / 1000
        return None

    def _dispatch(self) -> ServerEvent | None:
        event, data = self._event, self._data
        self._event, self._data = "", []
        if not data:
            return None
        return ServerEvent(id=self._id, event=event or "message", data="\n".join(data))
