"""Conversations with tools, in the form of the model's own template.

The template writes what lies between the caller's texts, and never sees them: it is given a
stand-in for each. So it can neither change nor drop a text, and a text that looks like a control
token is encoded as plain text here too (T-2). Requests without tools do not come here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from jinja2 import TemplateError

from ourvidz_worker.domain.errors import AttemptError, OutOfMemory, RequestError
from ourvidz_worker.domain.request import CALL_BEGIN, CALL_END, Message, ToolCall
from ourvidz_worker.engines.device import Foreign, foreign_errors
from ourvidz_worker.engines.tokens import PlainText

NO_TOOLS = "The model's own template knows no tools, so the field tools is not served."
NOT_TAKEN = "The model's own template does not take this conversation."
LEFT_OUT = "The model's own template would leave out a part of this conversation."

_CLOCK = "strftime_now"
"""A template that calls this writes the date, which nobody asked for (P-1)."""

_MARK = "Q7caller"
_STAND_IN = re.compile(_MARK + r'(\d+)x(\\*)"')
_BARE_WORD = re.compile(r"[A-Za-z0-9_-]*")

Piece = tuple[str, bool]
"""A text, and whether it is the template's."""


@dataclass(frozen=True, kw_only=True)
class ToolTemplate:
    """Renders conversations with tools for one model.

    `marks` are the strings that its tokenizer takes for tokens of their own.
    """

    tokenizer: Foreign
    plain: PlainText
    marks: dict[str, int]

    def render(self, messages: Sequence[Message], tools: Sequence[str]) -> list[int]:
        """The ids of the whole prompt, the header of the answer included.

        Raises `RequestError` where the template does not take the conversation, or would not
        show all of it.
        """
        return self._encode(self.pieces(messages, tools))

    def pieces(self, messages: Sequence[Message], tools: Sequence[str]) -> list[Piece]:
        """What the template makes of the conversation, piece by piece.

        A template that writes a system turn of its own where none is given gets an empty one
        instead (P-1): of the two renderings the shorter is the one without it.
        """
        made = self._attempt(messages, tools)
        if messages and messages[0].role == "system":
            return _sure(made)
        empty = Message(role="system", content="")
        found = [each for each in (made, self._attempt((empty, *messages), tools)) if each]
        return _sure(min(found, key=_length, default=None))

    def _attempt(self, messages: Sequence[Message], tools: Sequence[str]) -> list[Piece] | None:
        """The pieces, or None where the template refuses the conversation."""
        hidden = _Hidden(marks=frozenset(self.marks))
        try:
            with foreign_errors():
                text = self.tokenizer.apply_chat_template(
                    [hidden.message(message) for message in messages],
                    tools=[hidden.tool(tool) for tool in tools] or None,
                    add_generation_prompt=True,
                    tokenize=False,
                )
        except OutOfMemory:
            raise
        except (AttemptError, TemplateError):
            return None
        return hidden.split(text)

    def _encode(self, pieces: Sequence[Piece]) -> list[int]:
        """Tokens of their own are looked for in the template's text alone.

        What lies between two of them is encoded in one go, whoever wrote it, as the tokenizer
        itself would.
        """
        ids: list[int] = []
        run = ""
        for text, is_template in pieces:
            for part, mark in self._split(text) if is_template else [(text, None)]:
                run += part
                if mark is not None:
                    ids += [*self.plain.encode(run), mark]
                    run = ""
        return ids + self.plain.encode(run)

    def _split(self, text: str) -> Iterator[tuple[str, int | None]]:
        longest_first = sorted(self.marks, key=len, reverse=True)
        begin = 0
        for found in re.finditer("|".join(map(re.escape, longest_first)), text):
            yield text[begin : found.start()], self.marks[found.group()]
            begin = found.end()
        yield text[begin:], None


@dataclass
class _Hidden:
    """The caller's texts behind their stand-ins.

    A stand-in ends with a quotation mark. Where the template writes it as JSON, a backslash stands
    before the mark, and the text is escaped alike.
    """

    marks: frozenset[str]
    texts: list[str] = field(default_factory=list)
    json: set[int] = field(default_factory=set)
    """Those that are JSON themselves, and stay as they were written."""
    optional: set[int] = field(default_factory=set)
    """Those that a template may leave out: names that only tie an answer to its call."""

    def message(self, message: Message) -> dict[str, Any]:
        """A turn as templates expect it."""
        made: dict[str, Any] = {"role": message.role, "content": self._text(message.content)}
        if message.tool_calls:
            made["tool_calls"] = [self._call(call) for call in message.tool_calls]
        if message.tool_call_id is not None:
            made["tool_call_id"] = self._text(message.tool_call_id, optional=True)
        return made

    def tool(self, text: str) -> Any:  # noqa: ANN401 - any JSON
        """A tool as templates expect it; its bare words stay, for templates look at them."""
        return self._within(msgspec.json.decode(text))

    def split(self, rendered: str) -> list[Piece]:
        """The rendered text, cut where the caller's texts belong, with them in their places.

        Raises `RequestError` unless every one of them has its place.
        """
        pieces: list[Piece] = []
        begin, seen = 0, set()
        for found in _STAND_IN.finditer(rendered):
            index = int(found.group(1))
            levels = len(found.group(2)).bit_length()
            quote = 0
            if index in self.json and levels:  # JSON takes the place of the string it stands in
                levels -= 1
                quote = 1 << levels
            pieces.append((rendered[begin : found.start() - quote], True))
            pieces.append((self._told(index, levels), False))
            begin = found.end() + quote
            seen.add(index)
        pieces.append((rendered[begin:], True))
        is_whole = seen | self.optional >= set(range(len(self.texts)))
        if not is_whole or any(_MARK in text for text, ours in pieces if ours):
            raise RequestError(LEFT_OUT, field="messages")
        return pieces

    def _call(self, call: ToolCall) -> dict[str, Any]:
        function = {"name": self._text(call.name), "arguments": self._json(call.arguments)}
        made: dict[str, Any] = {"type": "function", "function": function}
        if call.id:
            made["id"] = self._text(call.id, optional=True)
        return made

    def _within(self, value: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, dict):
            return {self._word(key): self._within(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._within(inner) for inner in value]
        return self._word(value) if isinstance(value, str) else value

    def _word(self, text: str) -> str:
        is_bare = _BARE_WORD.fullmatch(text) and not any(
            mark in text for mark in (_MARK, *self.marks)
        )
        return text if is_bare else self._text(text)

    def _json(self, text: str) -> str:
        self.json.add(len(self.texts))
        return self._text(text)

    def _text(self, text: str, *, optional: bool = False) -> str:
        if not text:
            return text
        if optional:
            self.optional.add(len(self.texts))
        self.texts.append(text)
        return f'{_MARK}{len(self.texts) - 1}x"'

    def _told(self, index: int, levels: int) -> str:
        """A text as it stands in JSON that stands in JSON, so many levels deep."""
        text = self.texts[index]
        for _ in range(levels):
            text = msgspec.json.encode(text).decode()[1:-1]
        return text


def find_tools(tokenizer: Foreign, plain: PlainText) -> ToolTemplate | None:
    """The template for a model that writes calls between the marks of `CALL_BEGIN`, or None."""
    source = tokenizer.chat_template
    added = tokenizer.added_tokens_decoder
    if not source or _CLOCK in str(source) or any(map(_is_greedy, added.values())):
        return None
    if any(token.special and token.content in {CALL_BEGIN, CALL_END} for token in added.values()):
        return None  # a reply is told without special tokens, so a call could not be read
    marks = {token.content: index for index, token in added.items()}
    template = ToolTemplate(tokenizer=tokenizer, plain=plain, marks=marks)
    try:
        pieces = template.pieces(_PROBE, (_PROBE_TOOL,))
    except RequestError:
        return None
    shown = "".join(text for text, _ in pieces)
    calls = re.findall(f"{CALL_BEGIN}(.*?){CALL_END}", shown, re.DOTALL)
    return template if any(map(_is_probe_call, calls)) else None


_PROBE_CALL = ToolCall(name="probe call", arguments='{"probe": "an argument"}', id="probe-1")
_PROBE_TOOL = (
    '{"type": "function", "function": {"name": "probe call", "description": "a description",'
    ' "parameters": {"type": "object", "properties": {"probe": {"type": "string"}}}}}'
)
_PROBE = (
    Message(role="user", content="a question"),
    Message(role="assistant", content="", tool_calls=(_PROBE_CALL,)),
    Message(role="tool", content="a result", tool_call_id="probe-1"),
)


def _is_probe_call(text: str) -> bool:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return bool(found == {"name": _PROBE_CALL.name, "arguments": {"probe": "an argument"}})


def _is_greedy(token: Foreign) -> bool:
    """True for a token that takes more than its own characters, or not every place of them."""
    return bool(token.lstrip or token.rstrip or token.single_word)


def _length(pieces: Sequence[Piece]) -> int:
    return sum(len(text) for text, _ in pieces)


def _sure(pieces: list[Piece] | None) -> list[Piece]:
    if pieces is None:
        raise RequestError(NOT_TAKEN, field="messages")
    return pieces
