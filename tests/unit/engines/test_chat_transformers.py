"""The portable chat engine, on random models of two architectures."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.unit.engines.engine_bench import Bench, Loose, load, picture_with

from ourvidz_worker.domain.errors import (
    AttemptError,
    InvalidPrompt,
    ModelLoadFailed,
    RequestError,
    StopRequested,
)
from ourvidz_worker.domain.request import ChatRequest, Message, Sampling
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


def _model(bench: Bench, component: str = "model") -> Loose:
    return bench.engine._models[component]  # type: ignore[attr-defined]


def test_greedy_text_is_that_of_the_library_on_the_same_ids(chats: Bench) -> None:
    work = chats.compute(ask())
    model = _model(chats)
    ids = torch.tensor([work.prompt.ids])
    with torch.inference_mode():
        out = model.module.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            temperature=None,
            top_k=None,
            top_p=None,
            repetition_penalty=1.0,
            max_new_tokens=24,
            eos_token_id=sorted(model.ends),
            pad_token_id=0,
        )
    assert work.text == model.decode(out[0, ids.shape[1] :].tolist()).strip()
    assert work.text


def test_nothing_of_the_models_generation_config_leaks(chats: Bench, tiny: Path) -> None:
    declared = json.loads((tiny / "qwen" / "generation_config.json").read_text())
    assert declared["top_k"] == 1, "it would make every draw greedy"
    texts = {chats.compute(ask(temperature=1.5, top_p=1.0), seed=seed).text for seed in range(4)}
    assert len(texts) == 4
    effective = chats.run(ask(temperature=1.5)).effective
    assert (effective["temperature"], effective["repetition_penalty"]) == (1.5, 1.0)


def test_what_is_fed_is_markers_and_the_callers_text(chats: Bench) -> None:
    product = chats.run(ask(Message(role="user", content="hi <|im_end|> there")))
    model = _model(chats)
    start, end = model.template.start, model.template.end
    plain = model.plain.encode
    ids = [start, *plain("user\nhi <|im_end|> there"), end, *plain("\n"), start]
    ids += plain("assistant\n")
    assert product.fed == {"model": ids_digest(ids)}
    assert product.facts["prompt_tokens"] == len(ids)


def test_the_pieces_add_up_to_the_text(chats: Bench) -> None:
    for seed in range(3):
        product = chats.run(ask(temperature=1.2, max_tokens=40), seed=seed)
        assert chats.gate.text_so_far == product.artifacts[0].text
        assert [step.step for step in chats.gate.steps] == list(range(len(chats.gate.steps)))


def test_seeds_decide_the_draw(chats: Bench) -> None:
    request = ask(temperature=1.0)
    one, again, other = (chats.compute(request, seed=seed).text for seed in (1, 1, 2))
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


def test_the_models_own_end_ends_a_text_and_is_not_shown(
    chats: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(chats)
    calls = []

    def read(self: Loose, ids: Loose, cache: Loose) -> torch.Tensor:
        calls.append(len(ids))
        logits = torch.zeros(320)
        logits[model.template.end if len(calls) > 2 else 40] = 9.0
        return logits

    monkeypatch.setattr(type(model), "read", read)
    product = chats.run(ask())
    assert product.facts["finish_reason"] == "stop"
    assert product.facts["tokens_generated"] == 2
    assert product.artifacts[0].text == model.decode([40, 40])


def test_an_empty_text_is_empty(chats: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(chats)
    end = torch.nn.functional.one_hot(torch.tensor(model.template.end), 320).float()
    monkeypatch.setattr(type(model), "read", lambda self, ids, cache: end * 9)
    product = chats.run(ask())
    assert product.artifacts[0].text == ""
    assert product.facts["empty_output"] is True
    assert product.facts["finish_reason"] == "stop"


def test_numbers_out_of_range_fail_the_attempt(
    chats: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(chats)
    broken = torch.full((320,), float("nan"))
    monkeypatch.setattr(type(model), "read", lambda self, ids, cache: broken)
    with pytest.raises(AttemptError) as caught:
        chats.compute(ask())
    assert caught.value.code == "GENERATION_ERROR"


def test_a_raw_text_goes_to_base_without_a_template(chats: Bench) -> None:
    work = chats.compute(raw("hello world"))
    model = _model(chats, "base_model")
    assert work.component == "base_model"
    assert list(work.prompt.ids) == [0, *model.plain.encode("hello world")]
    assert chats.compute(raw("hello world", model="instruct")).prompt.ids[0] != 0


def test_the_space_that_was_trimmed_is_told_of_a_raw_text(
    chats: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(chats, "base_model")
    (space,) = model.plain.encode(" ")
    letters = iter([space, *model.plain.encode("hi"), *sorted(model.ends)])

    def read(self: Loose, ids: Loose, cache: Loose) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(next(letters)), 320).float() * 9

    monkeypatch.setattr(type(model), "read", read)
    artifact = chats.run(raw("say", max_tokens=8)).artifacts[0]
    assert (artifact.text, artifact.metadata["leading_space"]) == ("hi", " ")


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


def test_a_long_prompt_is_read_in_parts_and_may_be_stopped_between(
    tmp_path: Path,
) -> None:
    bench = Bench(load("chat_transformers", build_qwen2(tmp_path / "m", context=4096)), tmp_path)
    request = ask(Message(role="user", content="hello world " * 500), max_tokens=1)
    work = bench.compute(request)
    assert bench.gate.calls > len(bench.gate.steps) + 2
    whole = torch.tensor([work.prompt.ids])
    with torch.inference_mode():
        model = _model(bench)
        token = int(model.module(whole).logits[0, -1].argmax())
    assert work.text == model.decode([token]).strip()
    with pytest.raises(StopRequested):
        compute(bench.engine, bench.task(request), RecordingGate(stop_at=2))


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


def test_the_description_tells_the_models(chats: Bench) -> None:
    told = chats.engine.describe()
    assert set(told.components) == {"model", "base_model"}
    assert (told.model, told.capacity) == ("qwen", 1)
    assert told.details["model_context"] == 512
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


def test_closing_lets_go(tiny: Path) -> None:
    engine = load("chat_transformers", tiny / "qwen")
    engine.close()
    assert engine.describe().components == {}
