"""Chat jobs and questions about the pod (contract 3.6), and the sampling fields of 2.3."""

import json

import pytest

from ourvidz_worker.domain.errors import InvalidPrompt, RequestError
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.request import AdminRequest, ChatRequest, Message, Sampling

TURNS = [{"role": "user", "content": "Hello"}]


def read(**fields: object) -> ChatRequest:
    job = {"id": "j1", "type": "chat_conversation", "user_id": "u1", **fields}
    request = read_job(json.dumps(job).encode(), limits=Limits()).request
    assert isinstance(request, ChatRequest)
    return request


def refusal(**fields: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("name", "max_tokens"),
    [("chat_enhance", 200), ("chat_conversation", 512), ("chat_unrestricted", 512)],
)
def test_the_defaults_of_each_type(name: str, max_tokens: int) -> None:
    request = read(type=name, messages=TURNS)
    assert request.sampling == Sampling(max_tokens=max_tokens)
    assert (request.model, request.truncate, request.text) == ("instruct", None, None)


@pytest.mark.parametrize(
    "fields",
    [{"messages": TURNS}, {"config": {"messages": TURNS}}, {"metadata": {"messages": TURNS}}],
)
def test_where_messages_may_lie(fields: dict[str, object]) -> None:
    assert read(**fields, prompt="unused").messages == (Message(role="user", content="Hello"),)


def test_a_prompt_alone_is_one_user_turn() -> None:
    assert read(prompt=" as it is\n").messages == (Message(role="user", content=" as it is\n"),)


def test_turns_are_kept_as_they_are() -> None:
    turns = [
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "<|im_end|>", "name": "x"},
        {"role": "system", "content": "late"},
    ]
    assert [(m.role, m.content) for m in read(messages=turns).messages] == [
        ("assistant", ""),
        ("assistant", "<|im_end|>"),
        ("system", "late"),
    ]


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([], "No messages provided"),
        (..., "No messages provided"),
        ("hello", "Messages must be an array"),
        ({}, "Messages must be an array"),
        (["hello"], "Invalid message format"),
        ([{"role": "user"}], "Invalid message format"),
        ([{"role": "user", "content": None}], "Invalid message format"),
        ([{"role": "user", "content": [{"type": "text"}]}], "Invalid message format"),
        ([{"role": "tool", "content": "x"}], "Invalid role"),
        ([{"content": "x"}], "Invalid role"),
        ([{"role": ["user"], "content": "x"}], "Invalid role"),
        (TURNS * 513, "messages must be an array of 1 to 512 messages"),
    ],
)
def test_the_sentences_that_stay(messages: object, sentence: str) -> None:
    error = refusal() if messages is ... else refusal(messages=messages)
    assert (error.sentence, error.field) == (sentence, "messages")


def test_an_empty_prompt_is_no_conversation() -> None:
    with pytest.raises(InvalidPrompt):
        read(prompt="")


def test_sampling_is_read_from_config_then_from_the_top() -> None:
    request = read(
        messages=TURNS,
        config={"temperature": 0, "top_p": "0.5", "stop": "END", "seed": 0, "max_tokens": 4096},
        top_k=40,
        frequency_penalty=-2,
        presence_penalty=0.6,
        repetition_penalty=1.1,
        temperature=2,
    )
    assert request.sampling == Sampling(
        max_tokens=4096,
        temperature=0.0,
        top_p=0.5,
        top_k=40,
        frequency_penalty=-2.0,
        presence_penalty=0.6,
        repetition_penalty=1.1,
        stop=("END",),
        seed=0,
    )
    assert request.recorded.ignored_fields == ("temperature",)


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("max_tokens", [0, 4097, 1.5, True, "many"]),
        ("temperature", [-0.1, 2.1, True]),
        ("top_p", [0, 1.1, True]),
        ("top_k", [-1, 0.5, True]),
        ("frequency_penalty", [-2.1, 2.1]),
        ("presence_penalty", [-2.1, 2.1]),
        ("repetition_penalty", [0.4, 2.1]),
        ("stop", [3, [""], "", ["a"] * 9, [1], {}]),
        ("seed", [-2, 2**53, 0.5, True]),
        ("model", ["gpt", 1, ""]),
        ("truncate", ["newest", True]),
    ],
)
def test_bounds(key: str, bad: list[object]) -> None:
    for value in bad:
        error = refusal(messages=TURNS, config={key: value})
        assert (error.code, error.field) == ("INVALID_REQUEST", f"config.{key}")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("qwen_instruct", "instruct"),
        ("QWEN_BASE", "base"),
        ("Qwen2.5-7B-Instruct", "instruct"),
        ("qwen2.5-7b-base", "base"),
        ("Qwen2.5-7B", "base"),
        (None, "instruct"),
    ],
)
def test_the_names_of_the_models(name: str | None, model: str) -> None:
    assert read(messages=TURNS, model=name).model == model


def test_a_seed_of_minus_one_is_to_be_drawn() -> None:
    assert read(messages=TURNS, config={"seed": -1}).sampling.seed is None


def test_stops_and_truncation() -> None:
    request = read(messages=TURNS, stop=["a", "b"], truncate="oldest")
    assert (request.sampling.stop, request.truncate) == (("a", "b"), "oldest")


@pytest.mark.parametrize(
    ("config", "operation"),
    [({}, "memory_status"), (None, "memory_status"), ({"operation": "health"}, "health")],
)
def test_questions_about_the_pod(config: object, operation: str) -> None:
    job = {"id": "j1", "type": "admin_utilities", "user_id": "u1", "config": config}
    request = read_job(json.dumps(job).encode(), limits=Limits()).request
    assert isinstance(request, AdminRequest)
    assert request.operation == operation


@pytest.mark.parametrize("operation", ["force_unload", "rm", "", 3])
def test_a_queue_cannot_change_the_pods_state(operation: object) -> None:
    job = {
        "id": "j1",
        "type": "admin_utilities",
        "user_id": "u1",
        "config": {"operation": operation},
    }
    with pytest.raises(RequestError) as caught:
        read_job(json.dumps(job).encode(), limits=Limits())
    assert caught.value.field == "config.operation"
