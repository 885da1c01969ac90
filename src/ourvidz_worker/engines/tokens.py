"""Token ids: text encoded as plain text whatever it looks like, and what is told of tokens."""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer

from ourvidz_worker.domain.errors import InvalidPrompt, ModelLoadFailed
from ourvidz_worker.engines.device import Foreign, foreign_errors

_UNREACHABLE = "\uf8ff\uf8ff{}\uf8ff"
_SPACE_PIECE = "\u2581"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class PlainText:
    """Encodes text without ever matching a control token, so that a caller cannot forge one (T-2).

    The same pipeline as the model's own tokenizer, less its added tokens and its post-processing.
    """

    def __init__(self, tokenizer: Foreign) -> None:
        """Raises `ModelLoadFailed` when the tokenizer has no description of its pipeline."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelLoadFailed("The model's tokenizer lacks a tokenizer.json.")
        pipeline = json.loads(backend.to_str())
        hide_control_tokens(pipeline)
        with foreign_errors(ModelLoadFailed):
            self._tokenizer = Tokenizer.from_str(json.dumps(pipeline))
        self._unknown = unknown_bytes(pipeline)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, with nothing before or after.

        Raises `InvalidPrompt` for a character that the model has no token for: dropped in silence,
        another text than the caller's would be executed (P-3).
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self._unknown and not self._unknown.isdisjoint(text.encode()):
            self._refuse_what_is_lost(text, ids)
        return ids

    def ends(self, text: str) -> list[int]:
        """Where in `text` each token ends, in characters."""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return [end for _, end in encoded.offsets]

    def _refuse_what_is_lost(self, text: str, ids: list[int]) -> None:
        if self._tokenizer.decode(ids, skip_special_tokens=False) == text:
            return  # its bytes lie inside tokens of several
        lost = next(each for each in text if not self._unknown.isdisjoint(each.encode()))
        raise InvalidPrompt(f"The model has no token for the character U+{ord(lost):04X}.")


class TokenBytes:
    """The UTF-8 bytes of single tokens, which alone need not be a whole character."""

    def __init__(self, tokenizer: Foreign) -> None:
        """Reads how the tokenizer writes bytes: in the byte-level alphabet, or as `<0x0A>`."""
        self._tokenizer = tokenizer
        self._control = {index: str(t) for index, t in tokenizer.added_tokens_decoder.items()}
        decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"]
        self._alphabet = byte_alphabet() if "ByteLevel" in json.dumps(decoder) else {}

    def __call__(self, token: int) -> bytes:
        """The bytes of a token; of a control token, those of its name; of an unknown one, none."""
        if token in self._control:
            return self._control[token].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token) or ""
        if self._alphabet:
            return bytes(self._alphabet[character] for character in piece)
        if found := _BYTE_PIECE.fullmatch(piece):
            return bytes([int(found.group(1), 16)])
        return str(piece).replace(_SPACE_PIECE, " ").encode()


def byte_alphabet() -> dict[str, int]:
    """The character that byte-level tokenizers write for each byte, and the byte.

    A byte that is a visible character of Latin-1 stands for itself; the others follow in order
    from U+0100 on (Radford et al. 2019, GPT-2).
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {
        chr(0x100 + index): byte for index, byte in enumerate(hidden)
    }


def unknown_bytes(pipeline: dict[str, Any]) -> frozenset[int]:
    """The bytes that a byte-level vocabulary lacks, and whose characters it would drop."""
    model = pipeline["model"]
    if model["type"] != "BPE" or model.get("byte_fallback") or model.get("unk_token"):
        return frozenset()
    if "ByteLevel" not in json.dumps(pipeline.get("pre_tokenizer")):
        return frozenset()
    alphabet = byte_alphabet()
    return frozenset(byte for piece, byte in alphabet.items() if piece not in model["vocab"])


def hide_control_tokens(pipeline: dict[str, Any]) -> None:
    """Make the added tokens of a tokenizer's description unmatchable, without moving any id."""
    added = {token["content"] for token in pipeline["added_tokens"]}
    pipeline["added_tokens"] = []
    pipeline["post_processor"] = None
    pipeline["truncation"] = None
    pipeline["padding"] = None
    model = pipeline["model"]
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):
        # Unigram would match its own control pieces: they keep their place under another name.
        model["vocab"] = [
            [_UNREACHABLE.format(index) if piece in added else piece, score]
            for index, (piece, score) in enumerate(vocabulary)
        ]


def ids_digest(ids: Iterable[int]) -> str:
    """SHA-256 of the ids, decimal and comma separated: what a receipt says was fed."""
    return hashlib.sha256(",".join(map(str, ids)).encode("ascii")).hexdigest()
