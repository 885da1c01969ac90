"""What a model may be told, written down by hand: the caller's text and ChatML's markers.

Nothing here uses the code that renders prompts. A prompt is a list of pieces, each a text or the
name of a control token that must stand in that place.
"""

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from ourvidz_worker.domain.request import Sampling

Turn = Mapping[str, str]

START, END = "<|im_start|>", "<|im_end|>"

TABLE: Mapping[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "repetition_penalty": 1.0,
    "stop": (),
    "seed": None,
    "logprobs": None,
}
"""The defaults of the contract's table (2.3), but for `max_tokens`, which the endpoint decides."""


class Piece(NamedTuple):
    """A text that somebody wrote, or a marker."""

    text: str
    is_marker: bool = False


def chatml(turns: Iterable[Turn]) -> list[Piece]:
    """A conversation and the header of the answer."""
    pieces = []
    for turn in turns:
        pieces += [
            Piece(START, is_marker=True),
            Piece(turn["role"] + "\n" + turn["content"]),
            Piece(END, is_marker=True),
            Piece("\n"),
        ]
    return [*pieces, Piece(START, is_marker=True), Piece("assistant\n")]


def raw(text: str, *, beginning: str = "") -> list[Piece]:
    """A text to be continued; `beginning` is the mark that the model wants before every text."""
    mark = [Piece(beginning, is_marker=True)] if beginning else []
    return [*mark, Piece(text)]


def cut(text: str, markers: Sequence[str]) -> list[Piece]:
    """A text that a template wrote, cut at the markers in it."""
    pieces: list[Piece] = []
    while text:
        found = [(at, -len(marker), marker) for marker in markers if (at := text.find(marker)) >= 0]
        if not found:
            return [*pieces, Piece(text)]
        at, _, marker = min(found)
        pieces += [Piece(text[:at]), Piece(marker, is_marker=True)]
        text = text[at + len(marker) :]
    return pieces


def sampling(max_tokens: int, **given: Any) -> Sampling:  # noqa: ANN401 - any field
    """The contract's table, but for what was given."""
    return Sampling(max_tokens=max_tokens, **{**TABLE, **given})


@dataclass(frozen=True)
class Words:
    """One model's tokenizer, read by hand.

    `composes` says that it puts composed characters (NFC) for decomposed ones, as Qwen's does.
    """

    tokenizer: Any
    bare: Tokenizer
    composes: bool

    @classmethod
    def of(cls, folder: Path) -> "Words":
        """The tokenizer in a folder, and the same without any token that is more than letters."""
        pipeline = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        composes = pipeline["normalizer"] is not None
        bare = pipeline | {"added_tokens": [], "post_processor": None}
        loader: Any = AutoTokenizer
        return cls(
            tokenizer=loader.from_pretrained(folder),
            bare=Tokenizer.from_str(json.dumps(bare)),
            composes=composes,
        )

    @property
    def markers(self) -> dict[int, str]:
        """Every token that stands for more than its letters."""
        return {index: str(token) for index, token in self.tokenizer.added_tokens_decoder.items()}

    def ids(self, pieces: Sequence[Piece]) -> list[int]:
        """The ids of a prompt: a marker's own, and letters between them."""
        names = {name: index for index, name in self.markers.items()}
        found: list[int] = []
        for text, marker in merged(pieces):
            found += self.bare.encode(text, add_special_tokens=False).ids
            found += [] if marker is None else [names[marker]]
        return found

    def told(self, ids: Sequence[int]) -> list[tuple[str, str | None]]:
        """What ids say: texts, each with the marker behind it."""
        found: list[tuple[str, str | None]] = []
        run: list[int] = []
        for index in ids:
            if index in self.markers:
                found.append((self._text(run), self.markers[index]))
                run = []
            else:
                run.append(index)
        return [*found, (self._text(run), None)]

    def check(self, ids: Sequence[int], pieces: Sequence[Piece]) -> None:
        """Fail unless `ids` are these pieces and nothing else, each marker in its place."""
        whole = "".join(self.composed(text) for text, _ in pieces)
        assert self._text(ids) == whole
        expected = [(self.composed(text), marker) for text, marker in merged(pieces)]
        assert self.told(ids) == expected, "a control token stands where the caller wrote a text"
        assert list(ids) == self.ids(pieces)

    def composed(self, text: str) -> str:
        """The text as the tokenizer reads it."""
        return unicodedata.normalize("NFC", text) if self.composes else text

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text


def merged(pieces: Sequence[Piece]) -> list[tuple[str, str | None]]:
    """Texts, each with the marker behind it; the last one has none."""
    found: list[tuple[str, str | None]] = []
    run = ""
    for text, is_marker in pieces:
        if is_marker:
            found.append((run, text))
            run = ""
        else:
            run += text
    return [*found, (run, None)]
