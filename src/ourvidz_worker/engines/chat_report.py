"""What a finished text tells: the sampling really used, facts, and differences."""

from dataclasses import dataclass, field

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.receipt import Difference
from ourvidz_worker.domain.request import ChatRequest
from ourvidz_worker.engines.chat_template import Rendered
from ourvidz_worker.engines.chat_words import ChatWords
from ourvidz_worker.engines.chat_writing import Written

NOTHING = Written(text="", leading="", tokens=0, finish_reason="length", cached=0)


@dataclass(frozen=True, kw_only=True)
class ChatWork:
    """One text on its way: what is asked, the ids of the prompt, and at last what was written."""

    request: ChatRequest
    seed: int
    component: str
    prompt: Rendered
    written: Written = field(default=NOTHING)


def effective(work: ChatWork) -> Metadata:
    """The sampling really used (T-1)."""
    asked = work.request.sampling
    told: Metadata = {
        "max_tokens": asked.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "frequency_penalty": asked.frequency_penalty,
        "presence_penalty": asked.presence_penalty,
        "repetition_penalty": asked.repetition_penalty,
        "stop_strings": len(asked.stop),
        "seed": work.seed,
    }
    if asked.logprobs is not None:
        told["logprobs"] = asked.logprobs
    return told


def facts(work: ChatWork, words: ChatWords) -> Metadata:
    """What a reply tells besides the text (T-3 to T-5)."""
    told: Metadata = {
        "prompt_tokens": len(work.prompt.ids),
        "cached_tokens": work.written.cached,
        "tokens_generated": work.written.tokens,
        "finish_reason": work.written.finish_reason,
        "model_name": words.name,
        "active_model_type": "base" if work.component == "base_model" else "instruct",
    }
    if not work.written.text:
        told["empty_output"] = True
    if work.request.truncate is not None:
        told |= {"truncated": work.prompt.dropped > 0, "dropped_messages": work.prompt.dropped}
    return told


def differences(work: ChatWork) -> tuple[Difference, ...]:
    """That the Instruct model served a request for Base, where it did."""
    if work.request.model == "instruct" or work.component == "base_model":
        return ()
    row = Difference(
        parameter="model",
        requested="base",
        effective="instruct",
        reason="the operator lets the Instruct model serve requests for Base",
    )
    return (row,)
