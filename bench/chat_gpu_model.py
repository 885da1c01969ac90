"""A model folder of Qwen2.5-7B's shape without its weights, and a tokenizer made for measuring.

Every id decodes to some text, so that whatever random weights draw is seen by the client, and
each of the load's words is one token, so that all prompts are equally long.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 152_064
LAYERS, WIDTH, INNER, HEADS, KEY_HEADS = 28, 3584, 18_944, 28, 4
CONTEXT = 32_768
SPACE = "\u0120"
"""How a byte-level vocabulary writes a space."""

MANY = 20_000
"""More tokens than the words need."""

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": INNER,
    "max_position_embeddings": CONTEXT,
    "max_window_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KEY_HEADS,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": VOCABULARY,
}


def build_model(folder: Path, words: Sequence[str]) -> Path:
    """Write the folder; weights are to be drawn by the engine (`load_format: dummy`).

    The one safetensors file holds a single number: what looks for weights finds some.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = measuring_tokenizer(words)
    tokenizer.save_pretrained(folder)
    ends = {"eos_token_id": tokenizer.convert_tokens_to_ids(CONTROL[2])}
    config = {**CONFIG, **ends, "bos_token_id": tokenizer.convert_tokens_to_ids(CONTROL[0])}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file({"nothing": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def measuring_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte level; `words` are tokens, each also behind a space; the rest are made up."""
    learnt = _learn([*words, *(f" {word}" for word in words)])
    model = json.loads(learnt.to_str())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    for number in range(VOCABULARY - len(CONTROL) - len(vocabulary)):
        vocabulary[f"{SPACE}w{number}"] = len(vocabulary)
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(CONTROL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=CONTROL[2], pad_token=CONTROL[0]
    )


def _learn(words: Sequence[str]) -> Tokenizer:
    """Learns until every word is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=MANY,
        min_frequency=0,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(words, trainer)
    return tokenizer
