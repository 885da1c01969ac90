"""The portable chat engine: any causal language model of transformers, one text at a time.

A task is rendered to ids (`begin`), generated token by token (`generate`), and handed out as one
text artifact (`finish`). Between two tokens the gate is asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.errors import InvalidPrompt, ModelLoadFailed, RequestError
from ourvidz_worker.domain.messages import Description
from ourvidz_worker.domain.receipt import Difference
from ourvidz_worker.domain.request import ChatRequest
from ourvidz_worker.engines import EngineSettings, Gate, Product, Stage, Task
from ourvidz_worker.engines.chat_model import ChatModel, load_chat_model
from ourvidz_worker.engines.chat_sampling import Sampler
from ourvidz_worker.engines.chat_template import Rendered, check_room
from ourvidz_worker.engines.chat_text import TextStream
from ourvidz_worker.engines.device import (
    Compute,
    foreign_errors,
    library_versions,
    open_device,
    peak_bytes,
)
from ourvidz_worker.engines.encode import measure_text
from ourvidz_worker.engines.tokens import ids_digest

STAGE = "generate"
PREFILL_TOKENS = 512
"""How much of a prompt runs between two questions to the gate."""


@dataclass(frozen=True, kw_only=True)
class ChatWork:
    """One text on its way: what is asked, the ids of the prompt, and at last the text."""

    request: ChatRequest
    seed: int
    component: str
    prompt: Rendered
    text: str = ""
    leading: str = ""
    tokens: int = 0
    finish_reason: str = "length"


class TransformersChat:
    """Runs Instruct (`model`) and, when given, Base (`second_model`) models.

    The option `base_is_instruct` lets the Instruct model serve requests for Base, reported as a
    difference.
    """

    def __init__(self, settings: EngineSettings) -> None:
        """Nothing is loaded yet."""
        self._settings = settings
        self._compute: Compute | None = None
        self._models: dict[str, ChatModel] = {}

    def load(self, tell: Callable[[str, float], None]) -> None:
        """Load the models and run one token through each. Raises `ModelLoadFailed`."""
        settings = self._settings
        self._compute = open_device(
            settings.device,
            settings.dtype,
            threads=settings.threads,
            memory_fraction=settings.memory_fraction,
        )
        tell("model", 0.0)
        models = {"model": load_chat_model(settings.model, "QWEN_INSTRUCT_PATH", self._compute)}
        if settings.second_model is not None:
            tell("base_model", 0.5)
            models["base_model"] = load_chat_model(
                settings.second_model, "QWEN_BASE_PATH", self._compute
            )
        tell("warm-up", 0.9)
        for model in models.values():
            with foreign_errors(ModelLoadFailed), torch.inference_mode():
                model.read(model.plain.encode("a"), model.new_cache())
        self._models = models

    def describe(self) -> Description:
        """The models, their sizes and digests."""
        first = self._models.get("model")
        details: Metadata = {}
        for component, model in self._models.items():
            details |= {
                f"{component}_digest": model.digest,
                f"{component}_context": model.context,
                f"{component}_has_chatml": model.template is not None,
            }
        return Description(
            engine="chat_transformers",
            model=first.name if first else "",
            device=self._compute.name if self._compute else "",
            components={name: model.size_bytes for name, model in self._models.items()},
            peak_bytes=peak_bytes(self._compute) if self._compute else 0,
            details=details,
        )

    def begin(self, task: Task) -> ChatWork:
        """Render the prompt. Raises `InvalidPrompt` when it does not fit into the context."""
        request = task.request
        if not isinstance(request, ChatRequest):
            raise RequestError("This worker serves chat requests alone.", field="type")
        component = self._component(request)
        with foreign_errors():
            prompt = render(request, self._models[component])
        return ChatWork(request=request, seed=task.seed, component=component, prompt=prompt)

    def stages(self, task: Task) -> Sequence[Stage[ChatWork]]:
        """One stage: the prompt is read and the text is written, token by token."""
        component = (
            self._component(task.request) if isinstance(task.request, ChatRequest) else "model"
        )
        return (Stage(name=STAGE, components=(component,), run=self._generate, share=1.0),)

    def finish(self, work: ChatWork, spool: Path) -> Product:
        """The text as an artifact; nothing is written to the spool directory."""
        del spool
        model = self._models[work.component]
        told: Metadata = {"tokens_generated": work.tokens, "finish_reason": work.finish_reason}
        if work.request.text is not None:
            told["leading_space"] = work.leading
        return Product(
            artifacts=(measure_text(0, work.text, told),),
            effective={**effective(work), "model_digest": model.digest},
            facts=facts(work, model),
            fed={work.component: ids_digest(work.prompt.ids)},
            differences=self._differences(work),
            versions=library_versions(),
        )

    def close(self) -> None:
        """Let go of the models."""
        self._models = {}

    def _component(self, request: ChatRequest) -> str:
        if request.model == "instruct" or "base_model" in self._models:
            return "model" if request.model == "instruct" else "base_model"
        if self._settings.options.get("base_is_instruct") is True:
            return "model"
        raise ModelLoadFailed("No Base model is set; let QWEN_BASE_PATH name its folder.")

    def _differences(self, work: ChatWork) -> tuple[Difference, ...]:
        if work.request.model == "instruct" or work.component == "base_model":
            return ()
        row = Difference(
            parameter="model",
            requested="base",
            effective="instruct",
            reason="the operator lets the Instruct model serve requests for Base",
        )
        return (row,)

    def _generate(self, work: ChatWork, gate: Gate) -> ChatWork:
        model = self._models[work.component]
        with foreign_errors(), torch.inference_mode():
            return generate(work, model, gate)


def render(request: ChatRequest, model: ChatModel) -> Rendered:
    """The ids of a request's prompt: a conversation as ChatML, a raw beginning as it is."""
    asked = request.sampling
    if request.text is not None:
        ids = (*model.beginning, *model.plain.encode(request.text))
        if not ids:
            raise InvalidPrompt("The text is empty; send at least one character.", field="inputs")
        check_room(len(ids), asked.max_tokens, model.context)
        return Rendered(ids=ids)
    if model.template is None:
        raise ModelLoadFailed(
            "The model knows no ChatML markers, so it takes no conversations, only raw texts."
        )
    return model.template.render(
        request.messages,
        room=model.context,
        max_tokens=asked.max_tokens,
        truncate=request.truncate == "oldest",
        tools=request.tools,
    )


def generate(work: ChatWork, model: ChatModel, gate: Gate) -> ChatWork:
    """Write the text token by token, asking the gate at each."""
    asked = work.request.sampling
    stream = TextStream(model.decode, asked.stop)
    cache = model.new_cache()
    logits = _read_prompt(work.prompt.ids, model, cache, gate)
    gate.step(STAGE, 0, asked.max_tokens)
    sampler = Sampler(asked, work.seed, work.prompt.ids, logits.shape[0])
    count, reason = 0, "length"
    while count < asked.max_tokens:
        token = sampler.draw(logits)
        if token in model.ends:
            reason = "stop"
            break
        count += 1
        _show(stream.add(token), count, gate)
        gate.step(STAGE, count, asked.max_tokens)
        if stream.stopped:
            break
        if count < asked.max_tokens:
            logits = model.read((token,), cache)
    _show(stream.end(), count, gate)
    return replace(
        work,
        text=stream.text,
        leading=stream.leading,
        tokens=count,
        finish_reason="stop" if stream.stopped else reason,
    )


def effective(work: ChatWork) -> Metadata:
    """The sampling really used (T-1)."""
    asked = work.request.sampling
    return {
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


def facts(work: ChatWork, model: ChatModel) -> Metadata:
    """What a reply tells besides the text (T-3 to T-5)."""
    told: Metadata = {
        "prompt_tokens": len(work.prompt.ids),
        "tokens_generated": work.tokens,
        "finish_reason": work.finish_reason,
        "model_name": model.name,
        "active_model_type": "base" if work.component == "base_model" else "instruct",
    }
    if not work.text:
        told["empty_output"] = True
    if work.request.truncate is not None:
        told |= {"truncated": work.prompt.dropped > 0, "dropped_messages": work.prompt.dropped}
    return told


def _read_prompt(ids: Sequence[int], model: ChatModel, cache: DynamicCache, gate: Gate) -> Tensor:
    gate.ask()
    for start in range(0, len(ids), PREFILL_TOKENS):
        logits = model.read(ids[start : start + PREFILL_TOKENS], cache)
        gate.ask()
    return logits


def _show(piece: str, tokens: int, gate: Gate) -> None:
    if piece:
        gate.text(piece, tokens)
