"""Tools through OpenAI's own client: a model with a form for them, and one without."""

import json
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from tests.e2e.pods import Pod

from ourvidz_worker.testing.tiny_caller import ARGUMENTS, NAME, build_caller

pytestmark = pytest.mark.e2e

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How is Oslo?"}]
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": NAME,
            "description": "Looks up the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod on a tiny model that calls its tool whatever it is asked."""
    folder = tmp_path_factory.mktemp("tools")
    model = build_caller(folder / "caller")
    made = Pod(folder / "state", OURVIDZ_LANES="chat", QWEN_INSTRUCT_PATH=str(model))
    made.start(ready=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod on the small chat model, whose template knows no tools."""
    made = Pod(tmp_path_factory.mktemp("small") / "state", OURVIDZ_LANES="chat")
    made.start(ready=1)
    yield made
    made.close()


def client_of(pod: Pod) -> OpenAI:
    """A client with the pod's own key."""
    key = (pod.state / "admin.key").read_text().strip()
    url = f"http://127.0.0.1:{pod.chat_port}/v1"
    return OpenAI(base_url=url, api_key=key, max_retries=0)


def test_a_call_its_answer_and_the_next_turn(caller: Pod) -> None:
    with client_of(caller) as client:
        made = client.chat.completions.create(model="caller", messages=ASKED, tools=TOOLS)
        (choice,) = made.choices
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        (call,) = choice.message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, call.function.arguments) == (NAME, ARGUMENTS)
        turns: list[ChatCompletionMessageParam] = [
            *ASKED,
            choice.message.to_dict(),  # type: ignore[list-item]  # as its users write it
            {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"cold": True})},
        ]
        more = client.chat.completions.create(model="caller", messages=turns, tools=TOOLS)
    assert made.usage is not None
    assert more.usage is not None
    assert more.usage.prompt_tokens > made.usage.prompt_tokens + 3


def test_a_streamed_call(caller: Pod) -> None:
    with (
        client_of(caller) as client,
        client.chat.completions.stream(model="caller", messages=ASKED, tools=TOOLS) as stream,
    ):
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    (choice,) = final.choices
    assert "tool_calls.function.arguments.done" in kinds
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == (NAME, ARGUMENTS)


def test_without_tools_the_same_words_are_text(caller: Pod) -> None:
    """T-5: nothing is read out of a text that nobody offered tools for."""
    with client_of(caller) as client:
        for more in ({}, {"tools": TOOLS, "tool_choice": "none"}):
            made = client.chat.completions.create(model="caller", messages=ASKED, extra_body=more)
            content = made.choices[0].message.content or ""
            assert content.startswith("<tool_call>")
            assert made.choices[0].finish_reason == "stop"


def test_a_model_without_a_form_for_tools_refuses_them(small: Pod) -> None:
    with client_of(small) as client:
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(model="qwen_instruct", messages=ASKED, tools=TOOLS)
        assert (raised.value.param, raised.value.code) == ("tools", "INVALID_REQUEST")
        assert "knows no tools" in str(raised.value)
        made = client.chat.completions.create(
            model="qwen_instruct", messages=ASKED, tools=TOOLS, tool_choice="none", max_tokens=4
        )
    assert made.choices[0].message.content
