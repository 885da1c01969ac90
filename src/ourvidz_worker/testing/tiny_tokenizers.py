"""Tiny tokenizers with the control tokens, marks and templates of the real ones."""

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
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
