"""The operator's own instructions for extended prompts, from one file (contract W-3).

Two forms. A file whose text begins with `[` is a conversation: a JSON array of messages, each an
object with `role` (`system`, `user` or `assistant`) and `content`. Any other file is a raw
beginning, which the model continues. In either, `{prompt}` stands for the job's prompt, which
takes its place byte for byte; it must occur at least once.
"""

from pathlib import Path
from typing import Literal

import msgspec

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.request import Message

PLACEHOLDER = "{prompt}"
VARIABLE = "WAN_ENHANCEMENT_TEMPLATE"
MAX_BYTES = 65_536
"""A model's context would not hold a longer one."""


class EnhancementTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """Instructions with the place of the prompt: `messages`, or else `text`."""

    messages: tuple[Message, ...] = ()
    text: str | None = None

    def filled_messages(self, prompt: str) -> tuple[Message, ...]:
        """The conversation with `prompt` in its place."""
        return tuple(
            Message(role=one.role, content=one.content.replace(PLACEHOLDER, prompt))
            for one in self.messages
        )

    def filled_text(self, prompt: str) -> str | None:
        """The raw beginning with `prompt` in its place; None for a conversation."""
        return None if self.text is None else self.text.replace(PLACEHOLDER, prompt)


class _Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One message in the file."""

    role: Literal["system", "user", "assistant"]
    content: str


def read_template(path: str) -> EnhancementTemplate | None:
    """The template in the file `path`; None where no path is set. Raises `ConfigError`."""
    if not path:
        return None
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{VARIABLE}: the file cannot be read", field=VARIABLE) from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{VARIABLE}: the file has more than {MAX_BYTES} bytes", field=VARIABLE)
    try:
        return parse_template(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{VARIABLE}: the file is not UTF-8", field=VARIABLE) from error


def parse_template(text: str) -> EnhancementTemplate:
    """The template that a file's text describes. Raises `ConfigError`."""
    if not text.lstrip().startswith("["):
        template = EnhancementTemplate(text=text)
        said = text
    else:
        try:
            turns = msgspec.json.decode(text, type=tuple[_Turn, ...])
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{VARIABLE}: the file must be a JSON array of messages with role and content",
                field=VARIABLE,
            ) from error
        template = EnhancementTemplate(
            messages=tuple(Message(role=turn.role, content=turn.content) for turn in turns)
        )
        said = "".join(turn.content for turn in turns)
    if PLACEHOLDER not in said:
        raise ConfigError(
            f"{VARIABLE}: the file must hold {PLACEHOLDER} where the prompt belongs",
            field=VARIABLE,
        )
    return template
