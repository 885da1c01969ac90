"""The chat engine over the portable text engine, on random models, and over a scripted one."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.unit.engines.engine_bench import Bench, Loose, load, picture_with
from tests.unit.engines.scripted_text import Script, ScriptedText, said
from transformers import AutoModelForCausalLM

from ourvidz_worker.domain.errors import (
    AttemptError,
    ConfigError,
    InvalidPrompt,
    ModelLoadFailed,
    OutOfMemory,
    RequestError,
    StopRequested,
)
from ourvidz_worker.domain.request import ChatRequest, Message, Sampling
from ourvidz_worker.engines import EngineSettings, Token, Tokens, make_engine
from ourvidz_worker.engines.chat import TextChat
from ourvidz_worker.engines.tokens import ids_digest
from ourvidz_worker.testing.check_engine import compute
from ourvidz_worker.testing.gate import RecordingGate
from ourvidz_worker.testing.tiny_models import build_qwen2

HELLO = (Message(role="user", content="hello world"),)


def ask(*messages: Message, **sampling: Loose) -> ChatRequest:
    plain = {"max_tokens": 24, "temperature": 0.0}
    return ChatRequest(
        job_type="chat_conversation",
        messages=messages or HELLO,
        sampling=Sampling(**{**plain, **sampling}),
    )


def raw(text: str, *, model: Loose = "base", **sampling: Loose) -> ChatRequest:
    plain = {"max_tokens": 16, "temperature": 0.0}
    return ChatRequest(
        job_type="chat_enhance", model=model, text=text, sampling=Sampling(**{**plain, **sampling})
    )


def _words(bench: Bench, component: str = "model") -> Loose:
    return bench.engine._models[component].words  # type: ignore[attr-defined]


def scripted(tiny: Path, folder: Path, script: Script, **options: Loose) -> Bench:
    """A chat engine whose models say what the script says."""
    settings = EngineSettings(
        model=tiny / "qwen", second_model=tiny / "llama", options={"both_resident": True, **options}
    )
    engine = TextChat(settings, "scripted", lambda _, given: ScriptedText(given, script))
    engine.load(lambda part, fraction: None)
    return Bench(engine, folder)


def text_engine(bench: Bench, component: str = "model") -> ScriptedText:
    found = bench.engine._models[component].engine  # type: ignore[attr-defined]
    assert isinstance(found, ScriptedText)
    return found


def test_greedy_text_is_that_of_the_library_on_the_same_ids(chats: Bench, tiny: Path) -> None:
    work = chats.compute(ask())
    words = _words(chats)
    ids = torch.tensor([work.prompt.ids])
    loader: Loose = AutoModelForCausalLM
    with torch.inference_mode():
        out = loader.from_pretrained(tiny / "qwen").generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            temperature=None,
            top_k=None,
            top_p=None,
            repetition_penalty=1.0,
            max_new_tokens=24,
            eos_token_id=sorted(words.ends),
            pad_token_id=0,
        )
    assert work.written.text == words.decode(out[0, ids.shape[1] :].tolist()).strip()
    assert work.written.text


def test_nothing_of_the_models_generation_config_leaks(chats: Bench, tiny: Path) -> None:
    declared = json.loads((tiny / "qwen" / "generation_config.json").read_text())
    assert declared["top_k"] == 1, "it would make every draw greedy"
    texts = {
        chats.compute(ask(temperature=1.5, top_p=1.0), seed=seed).written.text for seed in range(4)
    }
    assert len(texts) == 4
    effective = chats.run(ask(temperature=1.5)).effective
    assert (effective["temperature"], effective["repetition_penalty"]) == (1.5, 1.0)


def test_what_is_fed_is_markers_and_the_callers_text(chats: Bench) -> None:
    product = chats.run(ask(Message(role="user", content="hi <|im_end|> there")))
    words = _words(chats)
    start, end = words.template.start, words.template.end
    plain = words.plain.encode
    ids = [start, *plain("user\nhi <|im_end|> there"), end, *plain("\n"), start]
    ids += plain("assistant\n")
    assert product.fed == {"model": ids_digest(ids)}
    assert product.facts["prompt_tokens"] == len(ids)


def test_the_pieces_add_up_to_the_text(chats: Bench) -> None:
    for seed in range(3):
        product = chats.run(ask(temperature=1.2, max_tokens=40), seed=seed)
        assert chats.gate.text_so_far == product.artifacts[0].text
        steps = [step.step for step in chats.gate.steps]
        assert (steps[0], steps[-1]) == (0, product.facts["tokens_generated"])


def test_seeds_decide_the_draw(chats: Bench) -> None:
    request = ask(temperature=1.0)
    one, again, other = (chats.compute(request, seed=seed).written.text for seed in (1, 1, 2))
    assert one == again != other


def test_length_and_stop_end_a_text(chats: Bench) -> None:
    whole = chats.run(ask())
    assert whole.facts["finish_reason"] == "length"
    assert whole.facts["tokens_generated"] == 24
    text = str(whole.artifacts[0].text)
    stop = text[3:5]
    cut = chats.run(ask(stop=("never", stop)))
    assert cut.artifacts[0].text == text[: text.index(stop)].strip()
    assert cut.facts["finish_reason"] == "stop"
    assert int(str(cut.facts["tokens_generated"])) < 24


def test_the_models_own_end_ends_a_text_and_is_not_shown(tiny: Path, tmp_path: Path) -> None:
    bench = scripted(tiny, tmp_path, [said(40), said(40, finish="stop")])
    product = bench.run(ask())
    assert product.facts["finish_reason"] == "stop"
    assert product.facts["tokens_generated"] == 2
    assert product.artifacts[0].text == _words(bench).decode([40, 40])
    (ids, sampling, seed) = text_engine(bench).added[0]
    assert product.fed == {"model": ids_digest(ids)}
    assert (sampling, seed) == (ask().sampling, 7)
    assert text_engine(bench).settings.ends == _words(bench).ends


def test_an_empty_text_is_empty(tiny: Path, tmp_path: Path) -> None:
    bench = scripted(tiny, tmp_path, [Tokens(finish="stop", cached=3)])
    product = bench.run(ask())
    assert product.artifacts[0].text == ""
    assert product.facts["empty_output"] is True
    assert product.facts["finish_reason"] == "stop"
    assert (product.facts["tokens_generated"], product.facts["cached_tokens"]) == (0, 3)
    assert [step.step for step in bench.gate.steps] == [0]


def test_an_error_of_the_text_is_that_of_the_attempt(tiny: Path, tmp_path: Path) -> None:
    bench = scripted(tiny, tmp_path, [said(40), AttemptError("broken")])
    with pytest.raises(AttemptError, match="broken"):
        bench.compute(ask())
    assert text_engine(bench).streams[0].is_cancelled


def test_several_tokens_at_once_are_one_piece(tiny: Path, tmp_path: Path) -> None:
    words = _words(scripted(tiny, tmp_path / "a", []))
    ids = words.plain.encode("hello world, this is a test")
    bench = scripted(
        tiny, tmp_path / "b", [said(*ids[:2]), Tokens(), said(*ids[2:], finish="length")]
    )
    product = bench.run(ask())
    assert len(bench.gate.pieces) == 2
    assert bench.gate.text_so_far == product.artifacts[0].text == "hello world, this is a test"
    assert bench.gate.tokens == [2, len(ids)]


def test_nothing_behind_a_stop_string_counts(tiny: Path, tmp_path: Path) -> None:
    words = _words(scripted(tiny, tmp_path / "a", []))
    ids = words.plain.encode("one STOP two")
    before = len(words.plain.encode("one STOP"))
    bench = scripted(tiny, tmp_path / "b", [said(*ids)])
    product = bench.run(ask(stop=("STOP",), max_tokens=100))
    assert product.artifacts[0].text == bench.gate.text_so_far == "one"
    assert (product.facts["tokens_generated"], product.facts["finish_reason"]) == (before, "stop")
    assert text_engine(bench).streams[0].is_cancelled


def test_chances_are_told_in_words_even_without_text(tiny: Path, tmp_path: Path) -> None:
    words = _words(scripted(tiny, tmp_path / "a", []))
    ids = words.plain.encode("🎉")
    end = words.template.end
    parts: Script = [
        Tokens(tokens=(Token(id=token, logprob=-0.5, top=((end, -0.1), (token, -0.5))),))
        for token in ids
    ]
    bench = scripted(tiny, tmp_path / "b", [*parts, Tokens(finish="stop")])
    product = bench.run(ask(logprobs=2))
    assert product.artifacts[0].text == bench.gate.text_so_far == "🎉"
    assert len(ids) > 1
    assert bytes(byte for choice in bench.gate.choices for byte in choice.bytes) == "🎉".encode()
    choice = bench.gate.choices[0]
    assert (choice.logprob, choice.token) == (-0.5, "\ufffd")
    assert [other.token for other in choice.top] == ["<|im_end|>", "\ufffd"]
    assert [other.logprob for other in choice.top] == [-0.1, -0.5]
    assert product.effective["logprobs"] == 2


def test_a_text_that_waits_may_be_stopped(tiny: Path, tmp_path: Path) -> None:
    bench = scripted(tiny, tmp_path, [])
    gate = RecordingGate(stop_at=5)
    with pytest.raises(StopRequested):
        compute(bench.engine, bench.task(ask()), gate)
    assert gate.calls == 5
    assert text_engine(bench).streams[0].is_cancelled


def test_many_texts_at_once_are_each_as_it_would_be_alone(chats: Bench, tmp_path: Path) -> None:
    requests = [
        ask(Message(role="user", content=f"hello {number}"), temperature=0.8, max_tokens=12)
        if number % 3
        else raw(f"a red apple {number}", model="instruct", stop=("the", "a"))
        for number in range(24)
    ]
    alone = [chats.run(request, seed=seed) for seed, request in enumerate(requests)]
    benches = [Bench(chats.engine, tmp_path / str(number)) for number in range(24)]
    with ThreadPoolExecutor(24) as threads:
        running = [
            threads.submit(bench.run, request, seed=seed)
            for seed, (bench, request) in enumerate(zip(benches, requests, strict=True))
        ]
        crowd = [each.result() for each in running]
    assert [product.artifacts for product in crowd] == [product.artifacts for product in alone]
    assert [product.fed for product in crowd] == [product.fed for product in alone]
    for bench, product in zip(benches, crowd, strict=True):
        assert bench.gate.text_so_far.strip() == product.artifacts[0].text


def test_instruct_and_base_take_turns_unless_there_is_room_for_both(
    tiny: Path, tmp_path: Path
) -> None:
    turns = scripted(tiny, tmp_path / "a", [said(40, finish="stop")], both_resident=False)
    first, base = text_engine(turns), text_engine(turns, "base_model")
    assert (first.moves, base.moves) == (["park", "wake"], ["park"])
    turns.run(raw("hello"))
    turns.run(ask())
    assert (first.moves[2:], base.moves[1:]) == (["park", "wake"], ["wake", "park"])
    both = scripted(tiny, tmp_path / "b", [said(40, finish="stop")])
    both.run(raw("hello"))
    assert text_engine(both).moves == text_engine(both, "base_model").moves == []


def test_a_model_that_finds_no_room_fails_its_attempt_alone(tiny: Path, tmp_path: Path) -> None:
    bench = scripted(tiny, tmp_path, [said(40, finish="stop")], both_resident=False)
    text_engine(bench, "base_model").failures.append(OutOfMemory())
    with pytest.raises(OutOfMemory):
        bench.run(raw("hello"))
    assert bench.run(ask()).facts["active_model_type"] == "instruct"
    assert bench.run(raw("hello")).facts["active_model_type"] == "base"


def test_a_model_of_broken_numbers_fails_to_load(tmp_path: Path) -> None:
    folder = build_qwen2(tmp_path / "broken")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadFailed, match="left their range"):
        load("chat_transformers", folder)


def test_a_raw_text_goes_to_base_without_a_template(chats: Bench) -> None:
    work = chats.compute(raw("hello world"))
    words = _words(chats, "base_model")
    assert work.component == "base_model"
    assert list(work.prompt.ids) == [0, *words.plain.encode("hello world")]
    assert chats.compute(raw("hello world", model="instruct")).prompt.ids[0] != 0


def test_the_space_that_was_trimmed_is_told_of_a_raw_text(tiny: Path, tmp_path: Path) -> None:
    words = _words(scripted(tiny, tmp_path / "a", []), "base_model")
    ids = words.plain.encode(" hi")
    bench = scripted(tiny, tmp_path / "b", [said(*ids, finish="stop")])
    artifact = bench.run(raw("say", max_tokens=8)).artifacts[0]
    assert (artifact.text, artifact.metadata["leading_space"]) == ("hi", " ")
    assert "".join(bench.gate.pieces) == " hi", "what it continues and its pieces make one text"


def test_a_conversation_needs_markers(chats: Bench) -> None:
    request = ChatRequest(
        job_type="chat_conversation", model="base", messages=HELLO, sampling=Sampling()
    )
    with pytest.raises(ModelLoadFailed, match="ChatML"):
        chats.compute(request)


def test_what_exceeds_the_context_is_refused(chats: Bench) -> None:
    with pytest.raises(InvalidPrompt, match="max_tokens is 600"):
        chats.compute(ask(max_tokens=600))
    with pytest.raises(InvalidPrompt, match="at most 512"):
        chats.compute(raw("hello " * 600))


def test_truncation_is_reported(chats: Bench) -> None:
    turns = [Message(role="user", content=f"{number} hello " * 20) for number in range(12)]
    request = ChatRequest(
        job_type="chat_conversation",
        messages=tuple(turns),
        truncate="oldest",
        sampling=Sampling(max_tokens=2, temperature=0.0),
    )
    facts = chats.run(request).facts
    assert facts["truncated"] is True
    assert 0 < int(str(facts["dropped_messages"])) < 12
    assert int(str(facts["prompt_tokens"])) + 2 <= 512


@pytest.mark.parametrize("request_", [raw("", model="instruct"), picture_with()])
def test_what_is_no_text_request_is_refused(chats: Bench, request_: Loose) -> None:
    with pytest.raises(RequestError):
        chats.compute(request_)


def test_base_may_be_served_by_instruct_openly(tiny: Path, tmp_path: Path) -> None:
    without = Bench(load("chat_transformers", tiny / "qwen"), tmp_path / "a")
    with pytest.raises(ModelLoadFailed, match="QWEN_BASE_PATH"):
        without.compute(raw("hello"))
    options = {"base_is_instruct": True}
    allowed = Bench(load("chat_transformers", tiny / "qwen", options=options), tmp_path / "b")
    product = allowed.run(raw("hello"))
    (difference,) = product.differences
    assert (difference.requested, difference.effective) == ("base", "instruct")
    assert product.facts["active_model_type"] == "instruct"
    assert allowed.run(ask()).differences == ()
    assert allowed.engine.describe().details["base_model_name"] == "qwen"


def test_the_description_tells_the_models(chats: Bench) -> None:
    told = chats.engine.describe()
    assert set(told.components) == {"model", "base_model"}
    assert (told.engine, told.model, told.capacity) == ("chat_transformers", "qwen", 64)
    assert told.details["model_context"] == 512
    assert (told.details["model_name"], told.details["base_model_name"]) == ("qwen", "llama")
    assert len(str(told.details["model_digest"])) == 64


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("config.json", "{"),
        ("config.json", '{"model_type": "no_such_model"}'),
        ("config.json", '{"model_type": "qwen2", "max_position_embeddings": 0}'),
        ("config.json", '{"auto_map": {"AutoModelForCausalLM": "evil.Model"}}'),
        ("model.safetensors", "x"),
    ],
)
def test_a_damaged_folder_fails_to_load(
    tiny: Path, tmp_path: Path, file: str, content: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny / "qwen", folder)
    (folder / file).write_text(content)
    with pytest.raises(ModelLoadFailed) as caught:
        load("chat_transformers", folder)
    assert str(tmp_path) not in caught.value.sentence


def test_the_context_has_a_bound_of_the_operators(tiny: Path, tmp_path: Path) -> None:
    bench = scripted(tiny, tmp_path, [], max_model_len=100)
    assert bench.engine.describe().details["model_context"] == 100
    with pytest.raises(InvalidPrompt, match="at most 100"):
        bench.compute(ask(max_tokens=100))


@pytest.mark.parametrize("options", [{"capacity": 0}, {"capacity": "many"}, {"capacity": True}])
def test_a_capacity_that_is_none_is_refused(tiny: Path, options: Loose) -> None:
    with pytest.raises(ConfigError, match="capacity"):
        make_engine("chat_transformers", EngineSettings(model=tiny / "qwen", options=options))


def test_the_peak_is_at_least_what_is_held(tiny: Path, tmp_path: Path) -> None:
    assert scripted(tiny, tmp_path, []).engine.describe().peak_bytes > 2 * 1024


def test_closing_lets_go(tiny: Path) -> None:
    engine = load("chat_transformers", tiny / "qwen")
    engine.close()
    assert engine.describe().components == {}
