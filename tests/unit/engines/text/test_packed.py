"""Attention of many texts in one pass is that of the library, text by text."""

from collections.abc import Callable

import pytest
from tests.unit.engines.text.batch_bench import (
    CPU,
    SIZES,
    VOCABULARY,
    BatchBench,
    Loose,
    by_library,
    drawn,
    tiny_module,
)
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
)

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.text.causal import CausalModel
from ourvidz_worker.testing.tiny_models import randomise

PROMPTS = ([5, 6, 7], [9, 9, 9, *range(40, 80)], [100], [*range(200, 211)])


def gpt2() -> Loose:
    """Learned positions, and every head with keys of its own."""
    sizes: dict[str, Loose] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **sizes))


SERVED: dict[str, Callable[[], Loose]] = {
    "llama": tiny_module,
    "a window of 8 tokens": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8)),
    "normalised queries": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16)),
    "gpt2": gpt2,
}
REFUSED: dict[str, Callable[[], Loose]] = {
    "softcap": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=16)),
    "of its own": lambda: BloomForCausalLM(
        BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4)
    ),
    "not told": lambda: StableLmForCausalLM(StableLmConfig(**SIZES)),
    "without attention": lambda: MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2)
    ),
}


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.parametrize("prefill_tokens", [7, 512])
def test_greedy_texts_are_those_of_the_library(name: str, prefill_tokens: int) -> None:
    module = SERVED[name]().eval()
    randomise(module, 3)
    expected = [by_library(module, prompt, 24) for prompt in PROMPTS]
    assert len({tuple(text) for text in expected}) == len(PROMPTS)
    bench = BatchBench(module, prefill_tokens=prefill_tokens)
    texts = [bench.begin(prompt, max_tokens=24) for prompt in PROMPTS]
    bench.finish()
    assert [drawn(text) for text in texts] == expected


@pytest.mark.parametrize("reason", REFUSED)
def test_an_architecture_that_is_not_served_is_named_at_its_load(reason: str) -> None:
    module = REFUSED[reason]().eval()
    with pytest.raises(ModelLoadFailed, match=rf"cannot serve this model.*{reason}"):
        CausalModel(module, CPU)
