"""One chat model in memory: its weights, its tokenizer, its markers and its ends."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.chat_template import ChatTemplate, find_template
from ourvidz_worker.engines.device import Compute, Foreign, size_bytes
from ourvidz_worker.engines.native import read_profile
from ourvidz_worker.engines.tokens import PlainText
from ourvidz_worker.engines.weights import (
    load_component,
    load_tokenizer,
    open_model,
    read_config,
    read_json,
)


@dataclass(frozen=True, kw_only=True)
class ChatModel:
    """A causal language model of at most `context` tokens; `ends` are the ids that end a text.

    `beginning` stands before a raw text where the model wants a mark there; `template` is None
    when the model knows no ChatML markers.
    """

    name: str
    digest: str
    size_bytes: int
    context: int
    ends: frozenset[int]
    beginning: tuple[int, ...]
    plain: PlainText
    template: ChatTemplate | None
    device: torch.device
    tokenizer: Foreign
    module: Foreign

    def decode(self, ids: list[int]) -> str:
        """The text of ids, without control tokens."""
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def new_cache(self) -> DynamicCache:
        """An empty key-value cache for one text."""
        return DynamicCache(config=self.module.config)

    def read(self, ids: Sequence[int], cache: DynamicCache) -> Tensor:
        """Run `ids` behind what the cache holds; the logits `[V]` for the token after them."""
        inputs = torch.tensor([list(ids)], dtype=torch.long, device=self.device)
        result = self.module(
            input_ids=inputs, past_key_values=cache, use_cache=True, **self._last_only()
        )
        logits: Tensor = result.logits[0, -1]
        return logits

    def _last_only(self) -> dict[str, int]:
        # Logits of a whole prompt would take its length times the vocabulary.
        known = inspect.signature(self.module.forward).parameters
        return {"logits_to_keep": 1} if "logits_to_keep" in known else {}


def load_chat_model(path: Path | None, variable: str, compute: Compute) -> ChatModel:
    """Load a causal language model folder. Raises `ModelLoadFailed`, `OutOfMemory`."""
    files = open_model(path, variable)
    root = files.root
    if not root.is_dir():
        raise ModelLoadFailed("A chat model must be a folder with its config and tokenizer.")
    config = read_config(root)
    if "auto_map" in config and "model_type" not in config:
        raise ModelLoadFailed("The model brings its own code, which is never run.")
    tokenizer = load_tokenizer(AutoTokenizer, root)
    plain = PlainText(tokenizer)
    module = load_component(AutoModelForCausalLM, root, compute)
    template = find_template(tokenizer, plain)
    ends = _end_ids(root, module.config, tokenizer)
    return ChatModel(
        name=read_profile(root).name or root.name,
        digest=files.digest,
        size_bytes=size_bytes(module),
        context=_context(config),
        ends=ends | ({template.end} if template else set()),
        beginning=_beginning(tokenizer),
        plain=plain,
        template=template,
        device=compute.device,
        tokenizer=tokenizer,
        module=module,
    )


def _context(config: dict[str, Any]) -> int:
    context = config.get("max_position_embeddings")
    if not isinstance(context, int) or context < 1:
        raise ModelLoadFailed("The model's config names no max_position_embeddings.")
    return context


def _end_ids(root: Path, config: Foreign, tokenizer: Foreign) -> frozenset[int]:
    # Only the ends are read from generation_config.json: its sampling values must not leak (T-1).
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
