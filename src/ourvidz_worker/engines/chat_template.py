"""ChatML as this system renders it: every turn verbatim, no turn of our own (T-2, P-1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from ourvidz_worker.domain.errors import InvalidPrompt, ModelLoadFailed, RequestError
from ourvidz_worker.domain.request import Message
from ourvidz_worker.engines.chat_tools import NO_TOOLS, ToolTemplate, find_tools
from ourvidz_worker.engines.device import Foreign
from ourvidz_worker.engines.tokens import PlainText

START, END = "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The ids of a whole prompt, and how many oldest turns were dropped to make it fit."""

    ids: tuple[int, ...]
    dropped: int = 0


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """Renders conversations with one model's markers.

    A turn is `START role newline content END newline`; the prompt ends with the assistant's header.
    Conversations with tools alone are rendered by the model's own template, `tools`.
    """

    plain: PlainText
    start: int
    end: int
    tools: ToolTemplate | None = None

    def render(
        self,
        messages: Sequence[Message],
        *,
        room: int,
        max_tokens: int,
        truncate: bool,
        tools: Sequence[str] = (),
    ) -> Rendered:
        """The ids of `messages`, which with `max_tokens` must fit into `room` tokens.

        With `truncate` the oldest turns that are not the system's go first, never the last user
        turn; a conversation with tools stays whole. Raises `InvalidPrompt`, with both numbers,
        when it does not fit, and `RequestError` where the model has no form for tools.
        """
        if tools or any(message.is_of_tools for message in messages):
            return self._render_tools(messages, tools, room, max_tokens)
        turns = [self._turn(message) for message in messages]
        header = (self.start, *self.plain.encode("assistant\n"))
        total = sum(map(len, turns)) + len(header)
        dropped: set[int] = set()
        for index in droppable(messages) if truncate else ():
            if total + max_tokens <= room:
                break
            total -= len(turns[index])
            dropped.add(index)
        check_room(total, max_tokens, room)
        kept = [token for i, turn in enumerate(turns) if i not in dropped for token in turn]
        return Rendered(ids=(*kept, *header), dropped=len(dropped))

    def _render_tools(
        self, messages: Sequence[Message], tools: Sequence[str], room: int, max_tokens: int
    ) -> Rendered:
        if self.tools is None:
            raise RequestError(NO_TOOLS, field="tools")
        ids = self.tools.render(messages, tools)
        check_room(len(ids), max_tokens, room)
        return Rendered(ids=tuple(ids))

    def _turn(self, message: Message) -> list[int]:
        body = self.plain.encode(f"{message.role}\n{message.content}")
        return [self.start, *body, self.end, *self.plain.encode("\n")]


def droppable(messages: Sequence[Message]) -> list[int]:
    """The turns that truncation may drop, oldest first: not the system's, not the last user's."""
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    last_user = users[-1] if users else None
    return [i for i, m in enumerate(messages) if m.role != "system" and i != last_user]


def check_room(prompt_tokens: int, max_tokens: int, room: int) -> None:
    """Raise `InvalidPrompt` when prompt and answer together exceed the context (T-3)."""
    if prompt_tokens + max_tokens > room:
        raise InvalidPrompt(
            f"The prompt has {prompt_tokens} tokens and max_tokens is {max_tokens};"
            f" together they may be at most {room}.",
            field="messages",
        )


def find_template(tokenizer: Foreign, plain: PlainText) -> ChatTemplate | None:
    """The template for a model that knows ChatML's markers, or None.

    Raises `ModelLoadFailed` when the tokenizer does not give a rendered turn back unchanged.
    """
    known = tokenizer.get_vocab()
    if START not in known or END not in known:
        return None
    template = ChatTemplate(
        plain=plain, start=known[START], end=known[END], tools=find_tools(tokenizer, plain)
    )
    probe = Message(role="user", content="One  two\n\nthree.")
    rendered = template.render((probe,), room=1 << 20, max_tokens=0, truncate=False)
    text = tokenizer.decode(
        list(rendered.ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    if text != f"{START}user\n{probe.content}{END}\n{START}assistant\n":
        raise ModelLoadFailed("The model's tokenizer changes the text of a conversation.")
    return template
