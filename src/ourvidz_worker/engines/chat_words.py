"""The words of a chat model: its tokenizer, its markers, its ends. Its weights lie elsewhere.

They are read from the model's folder, and what is fed to a text engine is made from them alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.chat_template import ChatTemplate, find_template
from ourvidz_worker.engines.device import Foreign, foreign_errors
from ourvidz_worker.engines.native import read_profile
from ourvidz_worker.engines.tokens import PlainText, TokenBytes
from ourvidz_worker.engines.weights import load_tokenizer, open_model, read_config, read_json


@dataclass(frozen=True, kw_only=True)
class ChatWords:
    """What a causal language model of at most `context` tokens reads and writes.

    `ends` are the ids that end a text; `beginning` stands before a raw text where the model wants
    a mark there; `template` is None when the model knows no ChatML markers. `digest` identifies
    the weights in the folder.
    """

    name: str
    folder: Path
    digest: str
    context: int
    ends: frozenset[int]
    beginning: tuple[int, ...]
    plain: PlainText
    template: ChatTemplate | None
    tokenizer: Foreign
    bytes_of: TokenBytes

    def decode(self, ids: list[int]) -> str:
        """The text of ids, without control tokens."""
        # Past transformers' own front, which takes five times as long and is asked for each token.
        text: str = self.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=True)
        return text


def load_words(path: Path | None, variable: str) -> ChatWords:
    """The words of the model folder that the setting `variable` names. Raises `ModelLoadFailed`."""
    files = open_model(path, variable)
    root = files.root
    if not root.is_dir():
        raise ModelLoadFailed("A chat model must be a folder with its config and tokenizer.")
    config = read_config(root)
    if "auto_map" in config and "model_type" not in config:
        raise ModelLoadFailed("The model brings its own code, which is never run.")
    tokenizer = load_tokenizer(AutoTokenizer, root)
    plain = PlainText(tokenizer)
    template = find_template(tokenizer, plain)
    ends = _end_ids(root, tokenizer)
    return ChatWords(
        name=read_profile(root).name or root.name,
        folder=root,
        digest=files.digest,
        context=_context(config),
        ends=ends | ({template.end} if template else set()),
        beginning=_beginning(tokenizer),
        plain=plain,
        template=template,
        tokenizer=tokenizer,
        bytes_of=TokenBytes(tokenizer),
    )


def _context(config: dict[str, Any]) -> int:
    context = config.get("max_position_embeddings")
    if not isinstance(context, int) or context < 1:
        raise ModelLoadFailed("The model's config names no max_position_embeddings.")
    return context


def _end_ids(root: Path, tokenizer: Foreign) -> frozenset[int]:
    # Only the ends are read from generation_config.json: its sampling values must not leak (T-1).
    with foreign_errors(ModelLoadFailed):
        config: Foreign = AutoConfig.from_pretrained(
            root, local_files_only=True, trust_remote_code=False
        )
    declared: list[Any] = [config.eos_token_id, tokenizer.eos_token_id]
    generation = root / "generation_config.json"
    if generation.is_file():
        declared.append(read_json(generation).get("eos_token_id"))
    ends: set[int] = set()
    for value in declared:
        ends.update(value if isinstance(value, list) else [value] if value is not None else [])
    return frozenset(ends)


def _beginning(tokenizer: Foreign) -> tuple[int, ...]:
    """What the tokenizer itself puts before a text: Llama's beginning mark, nothing for Qwen."""
    around: list[int] = tokenizer("").input_ids
    mark = tokenizer.bos_token_id
    return (mark,) if mark is not None and mark in around else ()
