"""The chat engine: words before and behind a text engine, which knows none.

A task is rendered to ids (`begin`), written by the text engine (`_generate`), and handed out as
one text artifact (`finish`). Many tasks run at once, each in a thread of its own that waits for
its tokens and asks its gate meanwhile.

Its options: `capacity`, how many texts run at once; `both_resident`, when the device has room for
Instruct and Base together; `base_is_instruct`, to let the Instruct model serve requests for Base,
reported as a difference; `max_model_len`, the longest context. The others are the text engine's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.errors import ModelLoadFailed, RequestError
from ourvidz_worker.domain.messages import Description
from ourvidz_worker.domain.request import ChatRequest
from ourvidz_worker.engines import EngineSettings, Gate, Product, Stage, Task
from ourvidz_worker.engines.chat_model import ChatModel, MakeText, capacity_of, outline_model
from ourvidz_worker.engines.chat_report import ChatWork, differences, effective, facts
from ourvidz_worker.engines.chat_residents import Residents
from ourvidz_worker.engines.chat_writing import STAGE, write
from ourvidz_worker.engines.device import (
    device_name,
    find_device,
    foreign_errors,
    library_versions,
    peak_bytes_on,
)
from ourvidz_worker.engines.encode import measure_text
from ourvidz_worker.engines.text import Footprint, make_text_engine
from ourvidz_worker.engines.tokens import ids_digest

SOURCES = {"model": "QWEN_INSTRUCT_PATH", "base_model": "QWEN_BASE_PATH"}
"""The setting that names each component's folder."""


def transformers_chat(settings: EngineSettings) -> "TextChat":
    """Chat over the portable text engine."""
    return TextChat(settings, "transformers")


def vllm_chat(settings: EngineSettings) -> "TextChat":
    """Chat over vLLM."""
    return TextChat(settings, "vllm")


class TextChat:
    """Runs Instruct (`model`) and, when given, Base (`second_model`) models."""

    def __init__(
        self, settings: EngineSettings, kind: str, make: MakeText = make_text_engine
    ) -> None:
        """`kind` names the text engines that `make` builds. Nothing is loaded yet."""
        self._settings = settings
        self._kind = kind
        self._make = make
        self._capacity = capacity_of(settings, kind)
        self._models: dict[str, ChatModel] = {}
        self._residents = Residents({}, resident=None)
        self._device: torch.device | None = None
        self._versions: dict[str, str] = {}
        self._peak_bytes = 0

    def load(self, tell: Callable[[str, float], None]) -> None:
        """Load the models; at last Instruct can serve. Raises `ModelLoadFailed`."""
        paths = {"model": self._settings.model, "base_model": self._settings.second_model}
        present = [name for name in SOURCES if name == "model" or paths[name] is not None]
        takes_turns = len(present) > 1 and self._settings.options.get("both_resident") is not True
        models = {}
        for index, name in enumerate(present):
            tell(name, index / len(present))
            models[name] = outline_model(
                paths[name], SOURCES[name], self._settings, self._kind, self._make
            )
            models[name].engine.load(_part_of(tell, name, index, len(present)))
            if takes_turns:
                models[name].engine.park()
        if takes_turns:
            models["model"].engine.wake()
        self._device = find_device(self._settings.device)
        self._versions = library_versions()
        self._residents = Residents(
            {name: model.engine for name, model in models.items()},
            resident="model" if takes_turns else None,
        )
        self._models = models

    def describe(self) -> Description:
        """The models, their sizes and digests."""
        first = self._models.get("model")
        details: Metadata = {}
        for component, model in self._models.items():
            details |= {
                f"{component}_name": model.words.name,
                f"{component}_digest": model.words.digest,
                f"{component}_context": model.context,
                f"{component}_has_chatml": model.words.template is not None,
            }
        if first and self._has_twin():
            details["base_model_name"] = first.words.name
        held = {name: model.engine.footprint() for name, model in self._models.items()}
        self._note_peak(held.values())
        return Description(
            engine=f"chat_{self._kind}",
            model=first.words.name if first else "",
            device=device_name(self._device) if self._device else "",
            capacity=self._capacity,
            components={name: each.weights_bytes for name, each in held.items()},
            peak_bytes=self._peak_bytes,
            details=details,
        )

    def begin(self, task: Task) -> ChatWork:
        """Render the prompt. Raises `InvalidPrompt` when it does not fit into the context."""
        request = task.request
        if not isinstance(request, ChatRequest):
            raise RequestError("This worker serves chat requests alone.", field="type")
        component = self._component(request)
        with foreign_errors():
            prompt = self._models[component].render(request)
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
        words, written = self._models[work.component].words, work.written
        told: Metadata = {
            "tokens_generated": written.tokens,
            "finish_reason": written.finish_reason,
        }
        if work.request.text is not None:
            told["leading_space"] = written.leading
        return Product(
            artifacts=(measure_text(0, written.text, told),),
            effective={**effective(work), "model_digest": words.digest},
            facts=facts(work, words),
            fed={work.component: ids_digest(work.prompt.ids)},
            differences=differences(work),
            versions=self._versions,
        )

    def close(self) -> None:
        """End every text and let go of the models."""
        models, self._models = self._models, {}
        for model in models.values():
            model.engine.close()

    def _component(self, request: ChatRequest) -> str:
        if request.model == "instruct" or "base_model" in self._models:
            return "model" if request.model == "instruct" else "base_model"
        if self._has_twin():
            return "model"
        raise ModelLoadFailed("No Base model is set; let QWEN_BASE_PATH name its folder.")

    def _has_twin(self) -> bool:
        """True when Instruct stands in for a Base model that is not there."""
        is_allowed = self._settings.options.get("base_is_instruct") is True
        return is_allowed and "base_model" not in self._models

    def _generate(self, work: ChatWork, gate: Gate) -> ChatWork:
        words = self._models[work.component].words
        with foreign_errors(), self._residents.turn(work.component, gate.ask) as engine:
            written = write(
                work.prompt.ids,
                work.request.sampling,
                work.seed,
                words=words,
                engine=engine,
                gate=gate,
                is_raw=work.request.text is not None,
            )
        return replace(work, written=written)

    def _note_peak(self, held: Iterable[Footprint]) -> None:
        """A text engine may compute in another process, whose memory only it can tell."""
        resident = sum(each.weights_bytes + each.cache_bytes for each in held if each.resident)
        own = peak_bytes_on(self._device) if self._device else 0
        self._peak_bytes = max(self._peak_bytes, resident, own)


def _part_of(
    tell: Callable[[str, float], None], name: str, index: int, count: int
) -> Callable[[str, float], None]:
    """Tells the parts of one model among the whole load."""
    return lambda part, fraction: tell(f"{name}: {part}", (index + min(fraction, 1.0)) / count)
