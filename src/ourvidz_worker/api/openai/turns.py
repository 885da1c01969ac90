"""The turns of a conversation as OpenAI's clients write them."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from ourvidz_worker.api.text_bodies import SENTENCES
from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.request import Message, ToolCall

MALFORMED = SENTENCES["messages[]"]

#: Roles of OpenAI's that a model of these does not know, and what to send instead.
OTHER_ROLES = {
    "developer": "Invalid role: developer is not known to these models; send the turn as system.",
    "function": "Invalid role: function is not known to these models; send the turn as tool.",
}


class ContentPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a turn's content; only texts are taken."""

    type: str
    text: str | None = None


class CalledFunction(msgspec.Struct, frozen=True, kw_only=True):
    """What a call is of; `arguments` is the text of a JSON object."""

    name: str
    arguments: str


class TurnCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool in an earlier answer."""

    function: CalledFunction
    id: str = ""
    type: Literal["function"] = "function"


class CompletionTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn; an answer that calls tools may have no content."""

    role: Literal["system", "user", "assistant", "tool", "developer", "function"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[TurnCall] | None = None
    tool_call_id: str | None = None
    function_call: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def messages_of(turns: Sequence[CompletionTurn]) -> tuple[Message, ...]:
    """The turns, verbatim. Raises `RequestError`."""
    return tuple(map(_message, turns))


def _message(turn: CompletionTurn) -> Message:
    if turn.role == "developer" or turn.role == "function":
        raise RequestError(OTHER_ROLES[turn.role], field="messages")
    if turn.function_call is not msgspec.UNSET and bytes(turn.function_call) != b"null":
        raise RequestError("A call belongs in tool_calls, not function_call.", field="messages")
    calls = turn.tool_calls or []
    if calls and turn.role != "assistant":
        raise RequestError(MALFORMED, field="messages")
    return Message(
        role=turn.role,
        content=_content(turn, may_lack=bool(calls)),
        tool_calls=tuple(map(_call, calls)),
        tool_call_id=turn.tool_call_id if turn.role == "tool" else None,
    )


def _content(turn: CompletionTurn, *, may_lack: bool) -> str:
    """The text, or its parts one behind the other with nothing between them."""
    if turn.content is None and may_lack:
        return ""
    if isinstance(turn.content, str):
        return turn.content
    if turn.content is None:
        raise RequestError(MALFORMED, field="messages")
    texts = [part.text for part in turn.content if part.type == "text" and part.text is not None]
    if len(texts) != len(turn.content):
        raise RequestError(
            "Only parts of type text are taken in the content of messages.", field="messages"
        )
    return "".join(texts)


def _call(call: TurnCall) -> ToolCall:
    try:
        msgspec.json.decode(call.function.arguments, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise RequestError(
            "The arguments of a call in messages must be the text of a JSON object.",
            field="messages",
        ) from error
    return ToolCall(name=call.function.name, arguments=call.function.arguments, id=call.id)
