"""Text replies: the contract's members, the text trimmed and nothing else."""

import msgspec
import pytest

from ourvidz_worker.api.text_bodies import TextOrder
from ourvidz_worker.api.text_replies import (
    chat_reply,
    enhance_reply,
    prompt_reply,
    written,
)
from ourvidz_worker.domain.request import ChatRequest, Message, Sampling
from ourvidz_worker.domain.text_reply import TextReply


def an_order(*, text: str | None = None, sfw: bool = False, full_text: bool = False) -> TextOrder:
    """A messages form, or a raw one when `text` is given."""
    request = ChatRequest(
        job_type="chat_conversation",
        sampling=Sampling(),
        model="instruct" if text is None else "base",
        text=text,
        messages=(Message(role="user", content="a cat"),) if text is None else (),
    )
    return TextOrder(request=request, sfw=sfw, full_text=full_text)


def a_reply(text: str = "Yes.", *, model: str = "Qwen2.5-7B-Instruct") -> TextReply:
    """What the desk returns."""
    return TextReply(
        text=text,
        tokens=3,
        prompt_tokens=11,
        finish_reason="length",
        generation_s=1.23456,
        model_name=model,
        active_model="instruct",
        effective={"temperature": 0.7},
        truncated=True,
        dropped_messages=4,
    )


def members(reply: msgspec.Struct) -> dict[str, object]:
    """A reply as JSON has it."""
    found: dict[str, object] = msgspec.to_builtins(reply)
    return found


def test_a_chat_reply_has_exactly_these_members() -> None:
    """T-4, T-9: told by the reply that produced it."""
    assert members(chat_reply(an_order(), written(["Ye", "s."], a_reply()))) == {
        "success": True,
        "response": "Yes.",
        "generation_time": 1.235,
        "tokens_generated": 3,
        "prompt_tokens": 11,
        "finish_reason": "length",
        "model_info": {
            "model_name": "Qwen2.5-7B-Instruct",
            "inference_engine": "pure",
            "active_model_type": "instruct",
            "parameters": {"temperature": 0.7},
        },
    }


def test_an_enhance_reply_names_its_text_otherwise() -> None:
    text = written([], a_reply())
    told = members(enhance_reply(an_order(), text))
    assert told.pop("enhanced_prompt") == "Yes."
    assert told == {
        name: value
        for name, value in members(chat_reply(an_order(), text)).items()
        if name != "response"
    }


def test_the_flag_of_the_caller_comes_back_twice() -> None:
    told = chat_reply(an_order(sfw=True), written([], a_reply()))
    assert (told.sfw_mode, told.model_info.sfw_mode) == (True, True)


def test_truncation_is_told_to_whoever_asked_for_it() -> None:
    order = an_order()
    asked = msgspec.structs.replace(
        order, request=msgspec.structs.replace(order.request, truncate="oldest")
    )
    told = members(chat_reply(asked, written([], a_reply())))
    assert (told["truncated"], told["dropped_messages"]) == (True, 4)
    assert "truncated" not in members(chat_reply(order, written([], a_reply())))


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_an_empty_text(text: str) -> None:
    told = members(chat_reply(an_order(), written([text], a_reply(text))))
    assert (told["response"], told["empty_output"], told["success"]) == ("", True, True)


def test_only_outer_white_space_is_trimmed() -> None:
    text = written([" a \n", " b\t"], a_reply("a \n b"))
    assert text.text == "a \n b"
    assert text.raw == " a \n b\t"


def test_pieces_that_do_not_add_up_do_not_count() -> None:
    assert written(["something", "else"], a_reply(" Yes.")).raw == " Yes."


def test_the_inputs_form_adds_its_own_member() -> None:
    text = written([" upon", " a time\n"], a_reply("upon a time"))
    plain = chat_reply(an_order(text="Once"), text)
    assert (plain.response, plain.generated_text) == ("upon a time", "upon a time")
    full = chat_reply(an_order(text="Once", full_text=True), text)
    assert (full.response, full.generated_text) == ("upon a time", "Once upon a time")


def test_the_prompt_form_tells_both_prompts() -> None:
    text = written([" on a", " mat"], a_reply("on a mat", model="Qwen2.5-7B-Base"))
    assert members(prompt_reply(an_order(text="a cat"), text, 2.00049)) == {
        "success": True,
        "enhanced_prompt": "a cat on a mat",
        "original_prompt": "a cat",
        "enhancement_source": "qwen_base",
        "processing_time": 2.0,
        "model": "Qwen2.5-7B-Base",
        "enhancement_applied": True,
        "worker": "wan",
    }
    asked = prompt_reply(an_order(), written([], a_reply("A big cat.")), 0)
    assert (asked.enhanced_prompt, asked.original_prompt) == ("A big cat.", "a cat")
    assert asked.enhancement_source == "qwen_instruct"


def test_an_enhancement_that_came_to_nothing_says_so() -> None:
    told = prompt_reply(an_order(text="a cat"), written([], a_reply("")), 0)
    assert (told.enhanced_prompt, told.enhancement_applied, told.empty_output) == (
        "a cat",
        False,
        True,
    )
