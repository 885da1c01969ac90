"""What is read from an event stream, piece by piece; the shells do the network. No I/O here."""

from typing import Any

import msgspec

from ourvidz_worker.client.calls import events_path
from ourvidz_worker.client.errors import (
    ClientError,
    ConnectionFailed,
    NotNow,
    UnexpectedAnswer,
    error_of,
)
from ourvidz_worker.client.results import FINAL, ChatReply, JobEvent
from ourvidz_worker.client.sse import EventParser, ServerEvent

FLEETING = frozenset({"progress", "preview", "token"})
"""Events that are told once, to whoever listens; they carry the last kept event's number."""

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
_BROKEN = 500


class JobFeed:
    """A job's events over as many connections as it takes, in order.

    Kept events are told once each; fleeting ones (progress, previews, tokens) as they come. After
    a break it asks for what came after the last event seen; it gives up after `patience_s` seconds
    of pauses with nothing new.
    """

    def __init__(self, job_id: str, *, after: int = 0, patience_s: float) -> None:
        """Begin after event number `after`."""
        self.path = events_path(job_id)
        self.ended = False
        self._job_id = job_id
        self._last = after
        self._patience_s = patience_s
        self._waited_s = 0.0
        self._breaks = 0
        self._parser = EventParser()

    def headers(self) -> dict[str, str]:
        """The headers of the next connection; a new connection begins a new stream."""
        self._parser = EventParser()
        headers = {"Accept": "text/event-stream"}
        return {**headers, "Last-Event-ID": str(self._last)} if self._last else headers

    def take(self, chunk: bytes) -> list[JobEvent]:
        """Take the next bytes; return the new events in them."""
        events = []
        for raw in self._parser.feed(chunk):
            event = self._event(raw)
            if event.seq <= self._last and event.kind not in FLEETING | FINAL:
                continue
            self._last, self._breaks, self._waited_s = max(self._last, event.seq), 0, 0.0
            self.ended = self.ended or event.is_last
            events.append(event)
        return events

    def pause_s(self, cause: ClientError | None = None) -> float:
        """How long to wait before the next connection.

        `cause` is why the last one ended, None when the pod just closed it. Raises it when it is
        not one that passes, or when patience is at its end.
        """
        if cause is not None and not isinstance(cause, ConnectionFailed | NotNow):
            raise cause
        wished = self._parser.retry_s or FIRST_PAUSE_S
        pause = min(wished * 2.0**self._breaks, LONGEST_PAUSE_S)
        self._breaks += 1
        self._waited_s += pause
        if self._waited_s > self._patience_s:
            raise cause or ConnectionFailed("The pod keeps closing the stream of events.")
        return pause

    def _event(self, raw: ServerEvent) -> JobEvent:
        seq = int(raw.id) if raw.id.isdecimal() else self._last
        return JobEvent(job_id=self._job_id, seq=seq, kind=raw.event, data=_object(raw.data))


class ChatFeed:
    """A text while it is written: pieces, then one `ChatReply`."""

    def __init__(self) -> None:
        """Begin at the start of an answer."""
        self._parser = EventParser()
        self._ended = False

    def take(self, chunk: bytes) -> list[str | ChatReply]:
        """Take the next bytes; return the pieces in them. Raises what the pod reports."""
        pieces: list[str | ChatReply] = []
        for raw in self._parser.feed(chunk):
            if raw.event == "token":
                pieces.append(str(_object(raw.data).get("text", "")))
            elif raw.event == "completed":
                pieces.append(_reply(raw.data))
                self._ended = True
            elif raw.event == "failed":
                raise _failure(raw.data)
        return pieces

    def close(self) -> None:
        """Say that the stream is over. Raises `ConnectionFailed` when the reply is missing."""
        if not self._ended:
            raise ConnectionFailed("The pod ended the answer before it was complete.")


def _object(data: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise UnexpectedAnswer from error


def _reply(data: str) -> ChatReply:
    try:
        return msgspec.json.decode(data, type=ChatReply)
    except msgspec.MsgspecError as error:
        raise UnexpectedAnswer from error


def _failure(data: str) -> ClientError:
    status = _object(data).get("status")
    return error_of(status if isinstance(status, int) else _BROKEN, data.encode())
