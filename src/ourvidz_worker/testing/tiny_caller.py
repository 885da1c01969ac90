"""A tiny chat model that always calls the same tool: real weights, of which one line is known.

Each token leads to the next one alone, so what is written is certain, with any seed, at any
temperature that the contract allows.
"""

from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from ourvidz_worker.testing.tiny_tokenizers import Foreign, tool_tokenizer

ARGUMENTS = '{"city": "Oslo", "days":  2}'
"""What the model calls its tool with, byte for byte."""

NAME = "look"
_WIDTH = 512
_SURE = 4.0
_CALL = f'\n{{"name": "{NAME}", "arguments": {ARGUMENTS}}}\n'


def build_caller(folder: Path, *, context: int = 2048) -> Path:
    """A Qwen2 folder whose model answers every conversation with a call of `NAME`."""
    tokenizer = tool_tokenizer(_CALL)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=False,
    )
    config.eos_token_id = end
    model = Qwen2ForCausalLM(config)
    _lead(model, _line(tokenizer), end)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder


def _line(tokenizer: Foreign) -> list[int]:
    """The ids from the end of the answer's header to the end of the answer."""
    (newline,) = tokenizer.encode("\n", add_special_tokens=False)
    words = ("<tool_call>", _CALL, "</tool_call>", "<|im_end|>")
    return [newline, *(tokenizer.convert_tokens_to_ids(word) for word in words)]


def _lead(model: Foreign, line: list[int], end: int) -> None:
    """Let each token of the line lead to the next, and every other to the end."""
    leads = torch.full((model.config.vocab_size,), end)
    leads[torch.tensor(line[:-1])] = torch.tensor(line[1:])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        places = torch.arange(model.config.vocab_size)
        model.model.embed_tokens.weight[places, places] = 1.0
        model.lm_head.weight[leads, places] = _SURE
