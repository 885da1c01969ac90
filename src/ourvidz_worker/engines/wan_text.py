"""Wan's text: UMT5, at its true length, padded with zeros behind the encoder."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ourvidz_worker.domain.errors import InvalidPrompt
from ourvidz_worker.engines.device import Foreign
from ourvidz_worker.engines.tokens import PlainText, ids_digest

MAX_TOKENS = 512
"""What UMT5 was trained to read for Wan, the end mark included (W-1)."""

LENGTHS = (64, 128, 256, MAX_TOKENS)
"""To what a text may be padded where a model's profile asks for less than the full length."""


@dataclass(frozen=True, kw_only=True)
class ClipTokens:
    """One text's ids, its end mark included; `count` is its length before any cut."""

    ids: tuple[int, ...]
    count: int

    @property
    def truncated(self) -> bool:
        """True when the text was cut."""
        return self.count > len(self.ids)

    @property
    def digest(self) -> str:
        """Digest of the exact ids."""
        return ids_digest(self.ids)


class ClipText:
    """The encoder with its tokenizer; `shortest` is the least length a text is padded to."""

    def __init__(self, tokenizer: Foreign, encoder: Foreign, shortest: int = 0) -> None:
        """`shortest` 0 means that every text is padded to the full length."""
        self.encoder = encoder
        self._plain = PlainText(tokenizer)
        self._end: int = tokenizer.eos_token_id
        self._shortest = shortest or MAX_TOKENS

    def tokenise(self, text: str, *, truncate: bool = False) -> ClipTokens:
        """The ids of a text. Raises `InvalidPrompt` above 512 tokens unless `truncate`."""
        ids = self._plain.encode(text)
        count = len(ids) + 1
        if count > MAX_TOKENS and not truncate:
            raise InvalidPrompt(
                f"The prompt has {count} tokens; at most {MAX_TOKENS} are allowed.", field="prompt"
            )
        return ClipTokens(ids=(*ids[: MAX_TOKENS - 1], self._end), count=count)

    def shorten(self, text: str, begins: str) -> str:
        """`text` cut at the last token's end at which it fits, but never within `begins` (W-3).

        A text that fits stays as it is, and so does one whose beginning is too long by itself.
        """
        if self._fits(text) or not self._fits(begins):
            return text
        for end in reversed(self._plain.ends(text)[: MAX_TOKENS - 1]):
            if end <= len(begins):
                return begins
            if self._fits(text[:end]):
                return text[:end]
        return begins

    def _fits(self, text: str) -> bool:
        return len(self._plain.encode(text)) < MAX_TOKENS

    def padded_length(self, texts: Sequence[ClipTokens]) -> int:
        """The one length to which all texts of a task are padded."""
        longest = max(len(tokens.ids) for tokens in texts)
        known = (self._shortest, *LENGTHS)
        return min(length for length in known if length >= max(longest, self._shortest))

    def encode(self, tokens: ClipTokens, length: int) -> Tensor:
        """Hidden states `[1, length, C]`, zero behind the text."""
        ids = torch.tensor([tokens.ids], dtype=torch.long, device=self.encoder.device)
        states: Tensor = self.encoder(
            input_ids=ids, attention_mask=torch.ones_like(ids)
        ).last_hidden_state
        rest = states.new_zeros(1, length - states.shape[1], states.shape[2])
        return torch.cat([states, rest], dim=1)
