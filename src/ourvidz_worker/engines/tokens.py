"""Token ids: text encoded as plain text whatever it looks like, and the digest of what was fed."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.device import Foreign, foreign_errors

_UNREACHABLE = "\uf8ff\uf8ff{}\uf8ff"


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

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, with nothing before or after."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def ends(self, text: str) -> list[int]:
        """Where in `text` each token ends, in characters."""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return [end for _, end in encoded.offsets]


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
