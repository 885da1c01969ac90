"""A GGUF file becomes a folder with the same numbers, whole or not at all."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ourvidz_worker.engines import convert
from ourvidz_worker.engines.convert import main

LAYERS, WIDTH, HEADS, KV_HEADS, INNER, CONTEXT = 1, 32, 4, 2, 64, 77
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PIECES = [*SPECIAL, *"abcdefgh", "Ġ", "ab"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tiny model of the Llama architecture, with random weights."""
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(PIECES))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(PIECES)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(PIECES) - len(SPECIAL)))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    numbers = np.random.default_rng(0)
    half = WIDTH * KV_HEADS // HEADS
    shapes = {
        "token_embd": (len(PIECES), WIDTH),
        "output_norm": (WIDTH,),
        "blk.0.attn_norm": (WIDTH,),
        "blk.0.ffn_norm": (WIDTH,),
        "blk.0.attn_q": (WIDTH, WIDTH),
        "blk.0.attn_k": (half, WIDTH),
        "blk.0.attn_v": (half, WIDTH),
        "blk.0.attn_output": (WIDTH, WIDTH),
        "blk.0.ffn_gate": (INNER, WIDTH),
        "blk.0.ffn_up": (INNER, WIDTH),
        "blk.0.ffn_down": (WIDTH, INNER),
    }
    for name, shape in shapes.items():
        tensor = numbers.standard_normal(shape).astype(np.float32)
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_model_is_converted_and_describes_itself(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "models" / "tiny"
    target.mkdir(parents=True)
    (target / "old").touch()
    assert main([str(source), str(target), "Tiny"]) == 0
    steps = [json.loads(line)["fraction"] for line in capsys.readouterr().out.splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == 1.0

    about = json.loads((target / "ourvidz.json").read_text())
    present = {file.name: file.stat().st_size for file in target.iterdir()}
    del present["ourvidz.json"]
    assert about["name"] == "Tiny"
    assert {name: entry["size"] for name, entry in about["files"].items()} == present
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= present.keys()

    model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(target)
    assert tokenizer("<|im_start|>ab a").input_ids == [1, 12, 11, 3]
    assert tokenizer.model_max_length == CONTEXT
    weights = model.state_dict()["model.embed_tokens.weight"]
    drawn = np.random.default_rng(0).standard_normal((len(PIECES), WIDTH)).astype(np.float32)
    assert torch.equal(weights, torch.from_numpy(drawn).bfloat16().float())
    assert torch.isfinite(model(torch.tensor([[1, 12]])).logits).all()


def test_a_conversion_that_breaks_leaves_what_was_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "tiny"
    target.mkdir()
    (target / "old").touch()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert, "_describe", full)
    with pytest.raises(OSError, match="No space"):
        main([str(source), str(target), "Tiny"])
    assert [file.name for file in target.iterdir()] == ["old"]
