"""The same conversation by hand through the library: the same ids, and the same text."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contract.purity.forms import BEGINNINGS, CONVERSATIONS
from tests.contract.purity.library import Library
from tests.contract.purity.open_pod import OpenPod, open_pod
from tests.contract.purity.published import build_qwen, build_raw_llama, build_smollm
from tests.contract.purity.words import Piece, Turn, Words, chatml, raw

from ourvidz_worker.engines.chat_text import TextStream
from ourvidz_worker.engines.tokens import byte_alphabet

TOKENS = 24


@dataclass(frozen=True)
class Beside:
    """A pod whose texts end by themselves, and its two models in the library."""

    pod: OpenPod
    words: dict[str, Words]
    models: dict[str, Library]

    @property
    def beginning(self) -> str:
        """The mark that Base's tokenizer puts before a text."""
        return "<s>" if "<s>" in self.words["base"].markers.values() else ""

    def text(self, name: str, pieces: list[Piece]) -> str:
        """What the model says behind ids made by hand, without control tokens or outer space."""
        words = self.words[name]
        end = words.tokenizer.eos_token_id
        out = self.models[name].greedy(words.ids(pieces), max_tokens=TOKENS, ends=[end])
        text: str = words.tokenizer.decode(
            out, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.strip()


@pytest.fixture(scope="module", params=["qwen", "smollm"])
def beside(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Beside]:
    """Qwen2 twice, or Llama with and without ChatML's markers."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "qwen":
        folders = build_qwen(folder / "instruct", seed=3), build_qwen(folder / "base", seed=4)
    else:
        folders = build_smollm(folder / "instruct"), build_raw_llama(folder / "base", seed=2)
    with open_pod(folder / "state", *folders, most_tokens=None) as pod:
        yield Beside(
            pod,
            {each.name: Words.of(each) for each in folders},
            {each.name: Library(each) for each in folders},
        )


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenPod]:
    """Two models with the same weights; only Instruct has a generation configuration."""
    folder = tmp_path_factory.mktemp("twins")
    instruct, base = build_qwen(folder / "instruct", seed=3), build_qwen(folder / "base", seed=3)
    (base / "generation_config.json").unlink()
    with open_pod(folder / "state", instruct, base, most_tokens=None) as pod:
        yield pod


@pytest.mark.parametrize("turns", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_a_greedy_answer_is_the_library_s(beside: Beside, turns: list[Turn]) -> None:
    """T-1, T-2, T-5: in every form of a conversation."""
    beside.pod.passed()
    expected = beside.text("instruct", chatml(turns))
    body = {"messages": turns, "max_tokens": TOKENS, "temperature": 0}
    for path in ("/chat", "/generate", "/enhance"):
        told = beside.pod.call(path, body).json()
        assert told["enhanced_prompt" if path == "/enhance" else "response"] == expected
    told = beside.pod.call("/v1/chat/completions", body).json()
    assert told["choices"][0]["message"]["content"] == expected
    job = {"type": "chat_conversation", "messages": turns}
    view = beside.pod.work(job | {"config": {"max_tokens": TOKENS, "temperature": 0}})
    assert view["assets"][0]["text"] == expected
    ids = beside.words["instruct"].ids(chatml(turns))
    passed = beside.pod.passed()
    assert [list(given.ids) for _, given in passed] == [ids] * 5


@pytest.mark.parametrize("text", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_a_greedy_continuation_is_the_library_s(beside: Beside, text: str) -> None:
    """T-1, T-5, T-6, T-7."""
    expected = beside.text("base", raw(text, beginning=beside.beginning))
    asked = {"inputs": text, "parameters": {"max_new_tokens": TOKENS, "do_sample": False}}
    assert beside.pod.call("/generate", asked).json()["generated_text"] == expected
    config = {"max_tokens": TOKENS, "temperature": 0}
    told = beside.pod.call("/enhance", {"prompt": text, "config": config}).json()
    assert told["enhanced_prompt"].startswith(text)
    assert told["enhanced_prompt"].removeprefix(text).strip() == expected
    told = beside.pod.call(
        "/v1/completions", {"prompt": text, "max_tokens": TOKENS, "temperature": 0}
    ).json()
    assert told["choices"][0]["text"].strip() == expected


def test_texts_written_side_by_side_do_not_mix(beside: Beside) -> None:
    """T-9, P-1: each caller gets the answer to his own words, whatever runs beside."""
    beside.pod.passed()
    orders: list[tuple[str, dict[str, Any], str]] = []
    for turns in list(CONVERSATIONS.values())[:8]:
        body = {"messages": turns, "max_tokens": TOKENS, "temperature": 0}
        orders.append(("/chat", body, beside.text("instruct", chatml(turns))))
    beginning = beside.beginning
    for text in list(BEGINNINGS.values())[:4]:
        config = {"max_new_tokens": TOKENS, "do_sample": False}
        expected = beside.text("base", raw(text, beginning=beginning))
        orders.append(("/generate", {"inputs": text, "parameters": config}, expected))
    with ThreadPoolExecutor(len(orders)) as threads:
        replies = list(threads.map(lambda order: beside.pod.call(order[0], order[1]), orders))
    assert [each.json()["response"] for each in replies] == [text for _, _, text in orders]
    assert len(beside.pod.passed()) == len(orders)


def test_broken_bytes_do_not_break_the_character_behind_them(tmp_path: Path) -> None:
    """T-5: the text is the decoded output, however it comes."""
    tokenizer = Words.of(build_qwen(tmp_path / "qwen")).tokenizer
    names = {byte: name for name, byte in byte_alphabet().items()}
    ids = [tokenizer.convert_tokens_to_ids(names[byte]) for byte in b"\x80\x80\xe3\x82\x86 it"]
    stream = TextStream(tokenizer.decode, ())
    pieces = [stream.add(index) for index in ids]
    assert "".join([*pieces, stream.end()]) == tokenizer.decode(ids) == "\ufffd\ufffdゆ it"


def test_a_seed_gives_the_same_text_again(beside: Beside) -> None:
    """T-1: drawn, not greedy; another seed gives another text."""
    body: dict[str, Any] = {
        "messages": CONVERSATIONS["user alone"],
        "max_tokens": TOKENS,
        "temperature": 1.2,
    }
    texts = [
        beside.pod.call("/chat", body | {"seed": seed}).json()["response"] for seed in (5, 5, 6)
    ]
    assert texts[0] == texts[1] != texts[2]
    told = beside.pod.call("/v1/chat/completions", body | {"seed": 5, "n": 2}).json()
    contents = [choice["message"]["content"] for choice in told["choices"]]
    assert contents == [texts[0], texts[2]], "the second answer is that of the next seed"


def test_a_generation_configuration_leaks_nothing(twins: OpenPod, tmp_path: Path) -> None:
    """T-1: temperature 0.1, top_k 1 and repetition 1.5 of the model's own change no text."""
    asked = build_qwen(tmp_path / "qwen") / "generation_config.json"
    declared = json.loads(asked.read_text())
    assert (declared["temperature"], declared["top_k"]) == (0.1, 1)
    assert declared["repetition_penalty"] == 1.5
    body = {"messages": CONVERSATIONS["system and user"], "max_tokens": TOKENS}
    greedy = twins.call("/chat", body | {"temperature": 0}).json()["response"]
    drawn = set()
    for seed in range(4):
        texts = {
            twins.call("/chat", body | {"seed": seed, "model": model}).json()["response"]
            for model in ("qwen_instruct", "qwen_base")
        }
        assert len(texts) == 1, "with and without the configuration"
        drawn |= texts
    assert len(drawn | {greedy}) == 5
