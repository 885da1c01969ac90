"""Conversations: no turn, word or sentence of the worker's own (line 38)."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.contract.never_again.engine_pod import EnginePod, engine_pod
from tests.unit.engines.engine_bench import Loose, load
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from ourvidz_worker.api.app import make_app
from ourvidz_worker.api.auth import Keys
from ourvidz_worker.api.call import ApiSettings
from ourvidz_worker.api.ports import Desks
from ourvidz_worker.domain.messages import Finished
from ourvidz_worker.engines import Engine, Token
from ourvidz_worker.engines.text.batch import Batch, Part
from ourvidz_worker.engines.text.writing import Writing
from ourvidz_worker.engines.tokens import ids_digest
from ourvidz_worker.pod.conversation import Conversation
from ourvidz_worker.pod.preparation import admit_all
from ourvidz_worker.testing.desks import KEYS, VERSION, FakePod, client_of
from ourvidz_worker.testing.tiny_models import build_qwen2

pytestmark = pytest.mark.anyio

CONTEXT = 2048
HELLO = {"role": "user", "content": "hello world"}
RENDERED = "<|im_start|>user\nhello world<|im_end|>\n<|im_start|>assistant\n"
TEMPLATES = {
    "SmolLM2": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging"
        " Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n'"
        " + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "Qwen2.5": (
        "{%- if messages[0]['role'] == 'system' %}"
        "{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}{%- else %}"
        "{{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful"
        " assistant.<|im_end|>\n' }}{%- endif %}{%- for message in messages %}"
        "{%- if (message.role == 'user') or (message.role == 'system' and not loop.first)"
        " or message.role == 'assistant' %}{{- '<|im_start|>' + message.role + '\n'"
        " + message.content + '<|im_end|>' + '\n' }}{%- endif %}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
    ),
}
"""The conversation parts of two published templates, each with its default system turn."""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ChatML model; a copy of it gets another template."""
    return build_qwen2(tmp_path_factory.mktemp("chat") / "qwen", context=CONTEXT)


@asynccontextmanager
async def calling(
    folder: Path, engine: Engine[Any]
) -> AsyncIterator[tuple[EnginePod, httpx.AsyncClient]]:
    """A pod around a chat engine, and a client of its interface."""
    async with engine_pod(folder, engine) as pod:
        talk = Conversation(
            worker=pod.supervisor,
            spool=pod.spool,
            clock=pod.clock,
            deadline_s=90.0,
            admit=admit_all,
            draw_seed=lambda: 5,
            count=lambda name: None,
        )
        fakes = FakePod(clock=pod.clock)
        app = make_app(
            side="chat",
            desks=Desks(
                jobs=fakes.jobs,
                texts=talk,
                memory=fakes.memory,
                dead=fakes.dead,
                pod=fakes.view,
            ),
            keys=Keys.of(*KEYS),
            clock=pod.clock,
            settings=ApiSettings(version=VERSION),
        )
        async with client_of(app) as client:
            yield pod, client


def fed_last(pod: EnginePod) -> str:
    """The digest of the ids that the last attempt fed to its model."""
    end = pod.pipe.ended[-1]
    assert isinstance(end, Finished)
    (digest,) = end.receipt.fed.values()
    return digest


async def post(client: httpx.AsyncClient, path: str, **body: object) -> dict[str, Any]:
    """The reply to a call that must succeed."""
    reply = await client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    assert found["success"] is True
    return found


def chat_job(kind: str, **fields: object) -> dict[str, Any]:
    """A chat job as it would come through the queue."""
    return {"id": kind, "type": kind, "user_id": "u1", "config": {"temperature": 0}, **fields}


@pytest.mark.parametrize("name", TEMPLATES)
async def test_38_messages_without_a_system_turn_render_without_one(
    tmp_path: Path, model_folder: Path, name: str
) -> None:
    """P-1 and T-2: on a model whose own template inserts one, by every way in."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    loader: Loose = AutoTokenizer
    tokenizer = loader.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATES[name]
    tokenizer.save_pretrained(folder)
    theirs = loader.from_pretrained(folder).apply_chat_template(
        [HELLO], tokenize=False, add_generation_prompt=True
    )
    assert theirs.startswith("<|im_start|>system\nYou are")
    reader = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = reader.encode(RENDERED).ids
    async with calling(tmp_path / "pod", load("chat_transformers", folder)) as (pod, client):
        for path in ("/chat", "/enhance", "/generate"):
            said = await post(client, path, messages=[HELLO], max_tokens=2)
            assert said["prompt_tokens"] == len(ids)
            assert fed_last(pod) == ids_digest(ids)
        await pod.completed(chat_job("chat_conversation", messages=[HELLO]))
        assert fed_last(pod) == ids_digest(ids)
        await pod.completed(chat_job("chat_enhance", prompt=HELLO["content"]))
        assert fed_last(pod) == ids_digest(ids)
        turns = [{"role": "assistant", "content": "x"}, HELLO, {"role": "assistant", "content": ""}]
        await post(client, "/chat", messages=turns, max_tokens=2)
        exact = "".join(
            f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in turns
        )
        whole = reader.encode(f"{exact}<|im_start|>assistant\n").ids
        assert fed_last(pod) == ids_digest(whole)


def talk_body(seed: int, **sampling: object) -> dict[str, Any]:
    """The messages form."""
    return {"messages": [HELLO], "max_tokens": 8, "seed": seed, **sampling}


def raw_body(seed: int, **sampling: object) -> dict[str, Any]:
    """The inputs form."""
    return {"inputs": "hello", "parameters": {"max_new_tokens": 8, "seed": seed, **sampling}}


@pytest.mark.parametrize(
    ("path", "make", "sampling", "text"),
    [
        ("/chat", talk_body, {"temperature": 0}, "response"),
        ("/chat", talk_body, {"temperature": 0.0, "top_p": 0.5}, "response"),
        ("/enhance", talk_body, {"temperature": 0}, "enhanced_prompt"),
        ("/generate", raw_body, {"temperature": 0}, "generated_text"),
        ("/generate", raw_body, {"do_sample": False}, "generated_text"),
    ],
)
async def test_38_temperature_0_is_greedy_and_never_an_error(
    tmp_path: Path,
    chat: Engine[Any],
    path: str,
    make: Callable[..., dict[str, Any]],
    sampling: dict[str, Any],
    text: str,
) -> None:
    """2.3: the same text whatever the seed, and told as 0."""
    async with calling(tmp_path, chat) as (_, client):
        texts = set()
        for seed in (1, 2, 3):
            said = await post(client, path, **make(seed, **sampling))
            assert said["model_info"]["parameters"]["temperature"] == 0
            assert said["tokens_generated"] > 0
            texts.add(said[text])
        warm = {"temperature": 1.8, "top_p": 1.0, "do_sample": True}
        drawn = [await post(client, path, **make(seed, **warm)) for seed in (1, 2, 3)]
    assert len(texts) == 1
    assert texts != {""}
    assert len({said[text] for said in drawn}) > 1, "above 0 the seed decides"


async def test_38_an_empty_output_is_empty(
    tmp_path: Path, chat: Engine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-4 and T-5: no sentence takes its place, on HTTP and in a callback."""

    def end_at_once(batch: Batch, parts: list[Part], logits: object) -> list[tuple[Writing, Token]]:
        end = Token(id=min(batch._ends))
        return [(text, end) for text, count in parts if count == text.left]

    monkeypatch.setattr(Batch, "_drawn", end_at_once)
    async with calling(tmp_path, chat) as (pod, client):
        for path, text in (("/chat", "response"), ("/enhance", "enhanced_prompt")):
            said = await post(client, path, messages=[HELLO])
            assert (said[text], said["empty_output"]) == ("", True)
            assert (said["tokens_generated"], said["finish_reason"]) == (0, "stop")
        said = await post(client, "/generate", inputs="once upon")
        assert (said["generated_text"], said["response"], said["empty_output"]) == ("", "", True)
        told = await pod.completed(chat_job("chat_conversation", messages=[HELLO]))
    assert told.end["assets"][0]["text"] == told.metadata["response"] == ""
    assert told.asset["tokens_generated"] == 0
