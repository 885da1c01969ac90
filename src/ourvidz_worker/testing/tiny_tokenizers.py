"""Tiny tokenizers with the control tokens, marks and templates of the real ones."""

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

Foreign = Any
"""An object of a library whose types say too little of it."""

CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>")
"""The control tokens of the tiny chat tokenizer."""

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""As Qwen's: it inserts a system turn of its own when the caller sends none."""

TOOL_TEMPLATE = (
    "{%- if tools %}{{- '<|im_start|>system\n' }}"
    "{%- if messages[0].role == 'system' %}{{- messages[0].content }}"
    "{%- else %}{{- 'You are a tiny helper.' }}{%- endif %}"
    "{{- '\n\n# Tools\n<tools>' }}"
    "{%- for tool in tools %}{{- '\n' + (tool | tojson) }}{%- endfor %}"
    '{{- \'\n</tools>\nCall one so:\n<tool_call>\n{"name": NAME, "arguments": {}}\n</tool_call>'
    "<|im_end|>\n' }}"
    "{%- elif messages[0].role == 'system' %}"
    "{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>system\nYou are a tiny helper.<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'user' or (message.role == 'system' and not loop.first)"
    " or (message.role == 'assistant' and not message.tool_calls) %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- elif message.role == 'assistant' %}{{- '<|im_start|>assistant' }}"
    "{%- if message.content %}{{- '\n' + message.content }}{%- endif %}"
    "{%- for call in message.tool_calls %}{%- set call = call.function %}"
    '{{- \'\n<tool_call>\n{"name": "\' + call.name + \'", "arguments": \' }}'
    "{{- call.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}"
    "{%- elif message.role == 'tool' %}"
    "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}"
    "{{- '<|im_start|>user' }}{%- endif %}"
    "{{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}"
    "{{- '<|im_end|>\n' }}{%- endif %}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
"""In the form of Qwen2.5's: tools in the system turn, of its own where the caller sends none."""

CORPUS = (
    "a red apple on a blue background",
    "hello world, this is a small test of many small words",
    "the quick brown fox jumps over the lazy dog\n\nand then it sleeps",
    "Größe, naïve, 日本語のテキスト, emoji 🎉 and more",
)
"""What the tiny tokenizers are trained on."""

_CLIP_ENDS = ("<|startoftext|>", "<|endoftext|>")
_WRAP: Foreign = PreTrainedTokenizerFast
_CLIP: Foreign = CLIPTokenizer


def clip_tokenizer(*, pad: str) -> Foreign:
    """A CLIP tokenizer of single characters and a few merges; `pad` as in SDXL's two."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*characters, *(character + "</w>" for character in characters)]
    merges = [("a", "p"), ("r", "e"), ("re", "d</w>"), ("l", "e</w>"), ("ap", "p")]
    pieces += ["".join(pair) for pair in merges]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *_CLIP_ENDS])}
    return _CLIP(vocab=vocabulary, merges=merges, model_max_length=77, pad_token=pad)


def umt5_tokenizer() -> Foreign:
    """A Unigram tokenizer that ends every text with `</s>`, as UMT5's does."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    control = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=160, special_tokens=control, unk_token=control[-1])
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return _WRAP(tokenizer_object=tokenizer, **_marks(pad="<pad>", eos="</s>", unk="<unk>"))


def chatml_tokenizer() -> Foreign:
    """A byte-level tokenizer with ChatML's markers and a template like Qwen's."""
    tokenizer = _byte_level(CHATML)
    marks = _marks(eos="<|im_end|>", pad="<|endoftext|>")
    return _WRAP(tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE, **marks)


def tool_tokenizer(*phrases: str) -> Foreign:
    """A ChatML tokenizer whose template knows tools; `phrases` are tokens of their own too."""
    tokenizer = _byte_level(CHATML[:-1])
    words = ("<tool_call>", "</tool_call>", *phrases)
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in words])
    marks = _marks(eos="<|im_end|>", pad="<|endoftext|>")
    return _WRAP(tokenizer_object=tokenizer, chat_template=TOOL_TEMPLATE, **marks)


def llama_tokenizer() -> Foreign:
    """A byte-level tokenizer that begins every text with `<s>`."""
    tokenizer = _byte_level(("<s>", "</s>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return _WRAP(tokenizer_object=tokenizer, **_marks(bos="<s>", eos="</s>"))


def _byte_level(control: tuple[str, ...]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(control),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _marks(**marks: str) -> dict[str, str]:
    return {f"{name}_token": mark for name, mark in marks.items()}
