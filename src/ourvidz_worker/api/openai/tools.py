"""The tools that a caller offers, and whether the model may call them."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ourvidz_worker.domain.errors import RequestError

MOST_TOOLS = 128

MISSHAPEN = "The field tools must be an array of objects of type function, each with a name."


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function; what else it says is passed to the model as it is."""

    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool."""

    type: Literal["function"]
    function: Function


def tools_of(
    given: Sequence[msgspec.Raw] | None,
    choice: msgspec.Raw | msgspec.UnsetType,
    parallel: bool | None,
) -> tuple[str, ...]:
    """The JSON of each tool that the model is told of; none when it must not call any.

    Nothing can make a model of these call a tool, keep to a schema, or call one tool alone:
    asking for that raises `RequestError`.
    """
    if given and len(given) > MOST_TOOLS:
        raise RequestError(f"The field tools takes at most {MOST_TOOLS}.", field="tools")
    for raw in given or ():
        _check(raw)
    may_call = _may_call(choice)
    if not given or not may_call:
        return ()
    if parallel is False:
        raise RequestError(
            "The field parallel_tool_calls cannot be false: calls are not held to one.",
            field="parallel_tool_calls",
        )
    return tuple(bytes(raw).decode() for raw in given)


def _check(raw: msgspec.Raw) -> None:
    try:
        tool = msgspec.json.decode(raw, type=Tool)
    except msgspec.DecodeError as error:
        raise RequestError(MISSHAPEN, field="tools") from error
    if tool.function.strict:
        raise RequestError(
            "The field tools.function.strict cannot be true: no answer is held to a schema.",
            field="tools",
        )


def _may_call(choice: msgspec.Raw | msgspec.UnsetType) -> bool:
    word = b"null" if choice is msgspec.UNSET else bytes(choice)
    words = {b"null": True, b'"auto"': True, b'"none"': False}
    if word not in words:
        raise RequestError(
            "The field tool_choice must be auto or none: no call can be forced.",
            field="tool_choice",
        )
    return words[word]
