"""Tiny chat models whose words are as the published ones', so that nothing of theirs may show.

The tokenizers have the pipelines, control tokens and templates of Qwen2.5 and SmolLM2, trained on a
few sentences; the weights are random. Each template writes a system turn of its own where none is
given, and each generation configuration asks for nearly greedy sampling.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from ourvidz_worker.testing.tiny_models import randomise
from ourvidz_worker.testing.tiny_tokenizers import CORPUS

Foreign = Any
"""An object of a library whose types say too little of it."""

_WRAP: Foreign = PreTrainedTokenizerFast

QWEN_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
)  # fmt: skip
QWEN_WORDS = ("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|repo_name|>", "<|file_sep|>")
"""Tokens of their own that are not special: a reply is told with them."""

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SMOLLM_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>",
    "<filename>", "<gh_stars>", "<issue_start>", "<issue_comment>", "<issue_closed>",
    "<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>", "<jupyter_script>",
    "<empty_output>",
)  # fmt: skip

PERSONAS = (
    "You are Qwen, created by Alibaba Cloud.",
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
)
"""What the templates say of themselves; no model may be told it."""

QWEN_TEMPLATE = (
    "{%- if tools %}{{- '<|im_start|>system\\n' }}"
    "{%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}"
    "{%- else %}{{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}"
    "{%- endif %}"
    "{{- '\\n\\n# Tools\\n\\nYou may call functions.\\n<tools>' }}"
    "{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}"
    '{{- \'\\n</tools>\\n\\n<tool_call>\\n{"name": <function-name>, "arguments": <arguments>}'
    "\\n</tool_call><|im_end|>\\n' }}"
    "{%- else %}{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful"
    " assistant.<|im_end|>\\n' }}{%- endif %}{%- endif %}"
    "{%- for message in messages %}"
    '{%- if (message.role == "user") or (message.role == "system" and not loop.first)'
    ' or (message.role == "assistant" and not message.tool_calls) %}'
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- elif message.role == \"assistant\" %}{{- '<|im_start|>' + message.role }}"
    "{%- if message.content %}{{- '\\n' + message.content }}{%- endif %}"
    "{%- for tool_call in message.tool_calls %}"
    "{%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}"
    '{{- \'\\n<tool_call>\\n{"name": "\' }}{{- tool_call.name }}'
    "{{- '\", \"arguments\": ' }}{{- tool_call.arguments | tojson }}{{- '}\\n</tool_call>' }}"
    "{%- endfor %}{{- '<|im_end|>\\n' }}"
    '{%- elif message.role == "tool" %}'
    '{%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}'
    "{{- '<|im_start|>user' }}{%- endif %}"
    "{{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}"
    '{%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}'
    "{{- '<|im_end|>\\n' }}{%- endif %}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

SMOLLM_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n'"
    " + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

GREEDY = {"do_sample": True, "temperature": 0.1, "top_k": 1, "repetition_penalty": 1.5}
"""What a model's own generation configuration asks for, and never gets (T-1)."""


def qwen_tokenizer() -> Foreign:
    """A tokenizer in the form of Qwen2.5's, composed characters (NFC) included."""
    before = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer = _trained(before, ())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in QWEN_SPECIAL])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in QWEN_WORDS])
    return _WRAP(
        tokenizer_object=tokenizer,
        chat_template=QWEN_TEMPLATE,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )


def smollm_tokenizer() -> Foreign:
    """A tokenizer in the form of SmolLM2's; its beginning mark is the start of a turn."""
    before = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return _WRAP(
        tokenizer_object=_trained(before, SMOLLM_SPECIAL),
        chat_template=SMOLLM_TEMPLATE,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )


def llama_tokenizer() -> Foreign:
    """A tokenizer without ChatML's markers, which begins every text with `<s>`."""
    tokenizer = _trained(pre_tokenizers.ByteLevel(add_prefix_space=False), ("<s>", "</s>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return _WRAP(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def build_qwen(folder: Path, *, seed: int = 1, context: int = 2048) -> Path:
    """A Qwen2 folder with `qwen_tokenizer`."""
    tokenizer = qwen_tokenizer()
    config = Qwen2Config(**_sizes(context, len(tokenizer)))
    return _save(folder, tokenizer, config, Qwen2ForCausalLM, seed)


def build_smollm(folder: Path, *, seed: int = 1, context: int = 2048) -> Path:
    """A Llama folder with `smollm_tokenizer`."""
    tokenizer = smollm_tokenizer()
    config = LlamaConfig(**_sizes(context, len(tokenizer)))
    return _save(folder, tokenizer, config, LlamaForCausalLM, seed)


def build_raw_llama(folder: Path, *, seed: int = 1, context: int = 2048) -> Path:
    """A Llama folder with `llama_tokenizer`."""
    tokenizer = llama_tokenizer()
    config = LlamaConfig(**_sizes(context, len(tokenizer)))
    return _save(folder, tokenizer, config, LlamaForCausalLM, seed)


def _trained(before: Foreign, control: tuple[str, ...]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = before
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=list(control),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*CORPUS, "\n\n".join(CORPUS)], trainer)
    return tokenizer


def _sizes(context: int, vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
    }


def _save(folder: Path, tokenizer: Foreign, config: Foreign, kind: Foreign, seed: int) -> Path:
    config.eos_token_id = tokenizer.eos_token_id
    config.bos_token_id = tokenizer.bos_token_id
    model = kind(config)
    randomise(model, seed)
    _say_words(model, tokenizer)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    said = GREEDY | {"eos_token_id": config.eos_token_id}
    (folder / "generation_config.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def _say_words(model: Foreign, tokenizer: Foreign) -> None:
    """Let the model's likeliest tokens be whole characters, as those of a trained one are."""
    with torch.no_grad():
        for index in range(len(tokenizer)):
            if not tokenizer.decode([index]).isascii():
                model.lm_head.weight[index] = 0.0
