"""One chat model: its words, and the text engine that holds its weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ourvidz_worker.domain.errors import ConfigError, InvalidPrompt, ModelLoadFailed
from ourvidz_worker.domain.request import ChatRequest
from ourvidz_worker.engines import EngineSettings
from ourvidz_worker.engines.chat_template import Rendered, check_room
from ourvidz_worker.engines.chat_words import ChatWords, load_words
from ourvidz_worker.engines.text import TextEngine, TextSettings

MOST_CONTEXT = 32_768
"""The contract's window (T-3); some models declare a longer one, which no memory was set aside for.
"""

CAPACITY = {"transformers": 64, "vllm": 256}
"""How many texts run at once where nothing is set."""

MakeText = Callable[[str, TextSettings], TextEngine]
"""Builds a text engine by its name."""


@dataclass(frozen=True, kw_only=True)
class ChatModel:
    """A model of at most `context` tokens, prompt and text together."""

    words: ChatWords
    engine: TextEngine
    context: int

    def render(self, request: ChatRequest) -> Rendered:
        """The ids of a request's prompt: a conversation as ChatML, a raw beginning as it is.

        Raises `InvalidPrompt` when it does not fit into the context.
        """
        asked, words = request.sampling, self.words
        if request.text is not None:
            ids = (*words.beginning, *words.plain.encode(request.text))
            if not ids:
                raise InvalidPrompt(
                    "The text is empty; send at least one character.", field="inputs"
                )
            check_room(len(ids), asked.max_tokens, self.context)
            return Rendered(ids=ids)
        if words.template is None:
            raise ModelLoadFailed(
                "The model knows no ChatML markers, so it takes no conversations, only raw texts."
            )
        return words.template.render(
            request.messages,
            room=self.context,
            max_tokens=asked.max_tokens,
            truncate=request.truncate == "oldest",
            tools=request.tools,
        )


def outline_model(
    path: Path | None, variable: str, settings: EngineSettings, kind: str, make: MakeText
) -> ChatModel:
    """The model in the folder that the setting `variable` names, its weights not loaded yet.

    Raises `ModelLoadFailed`, `ConfigError`.
    """
    words = load_words(path, variable)
    context = min(words.context, whole_option(settings, "max_model_len", MOST_CONTEXT))
    given = TextSettings(
        model=words.folder,
        ends=words.ends,
        context=context,
        device=settings.device,
        dtype=settings.dtype,
        threads=settings.threads,
        memory_fraction=settings.memory_fraction,
        capacity=capacity_of(settings, kind),
        options=settings.options,
    )
    return ChatModel(words=words, engine=make(kind, given), context=context)


def capacity_of(settings: EngineSettings, kind: str) -> int:
    """How many texts of a kind of text engine run at once. Raises `ConfigError`."""
    return whole_option(settings, "capacity", CAPACITY.get(kind, 1))


def whole_option(settings: EngineSettings, name: str, default: int) -> int:
    """An option that is a number from 1 on. Raises `ConfigError`."""
    value = settings.options.get(name, default)
    if type(value) is not int or value < 1:
        raise ConfigError(f"the chat engine's option {name} must be a whole number from 1 on")
    return value
