"""The portable text engine: any causal language model of transformers, many texts at once.

One thread computes, step by step (`batch`); what is asked from other threads is taken up between
two steps. Its options: `prefill_tokens`, how much of the prompts one step reads; `cache_bytes`, how
much the texts that run may take, where nothing is set half of what is free after the load;
`prefix_bytes`, how much of what ended texts computed is kept for those that begin alike, 0 for
nothing.
"""

import atexit
from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Lock, Thread

import torch

from ourvidz_worker.domain.errors import (
    AttemptError,
    ConfigError,
    ModelLoadFailed,
    OutOfMemory,
    WorkerLost,
)
from ourvidz_worker.domain.memory import MIB
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines.text.base import Footprint
from ourvidz_worker.engines.text.batch import Batch
from ourvidz_worker.engines.text.causal import CausalModel, load_causal
from ourvidz_worker.engines.text.settings import TextSettings
from ourvidz_worker.engines.text.stream import BufferedStream
from ourvidz_worker.engines.text.writing import Writing

PREFILL_TOKENS = {"cpu": 128, "cuda": 1024}
"""On a CPU this takes about as long as one token of 64 texts: while prompts are read, those that
are written keep half their pace."""

PREFIX_BYTES = 256 * MIB
"""5,800 tokens of SmolLM2 135M in single precision."""

BROKEN = "The model cannot write: its numbers left their range, or a layer failed; check its files."

WARM_UP = Sampling(max_tokens=2, temperature=0.5, logprobs=1)


class TransformersText:
    """The `TextEngine` over transformers."""

    def __init__(self, settings: TextSettings) -> None:
        """Nothing is loaded yet. Raises `ConfigError` for an option that is malformed."""
        self._settings = settings
        self._prefix_bytes = _whole(settings, "prefix_bytes", PREFIX_BYTES, least=0)
        self._prefill_tokens = _whole(settings, "prefill_tokens", 0, least=0)
        self._cache_bytes = _whole(settings, "cache_bytes", 0, least=0)
        self._model: CausalModel | None = None
        self._batch: Batch | None = None
        self._changed = Condition()
        self._moves = Lock()
        self._texts: dict[BufferedStream, Writing] = {}
        self._waiting: deque[Writing] = deque()
        self._cancelled: list[Writing] = []
        self._is_computing = False
        self._is_paused = False
        self._is_leaving = True
        """Nobody begins, because the weights are away or about to go."""
        self._is_resident = False
        self._is_closed = False
        self._thread = Thread(target=self._work, name="text", daemon=True)

    # ---- the port ----------------------------------------------------------------------------

    def load(self, tell: Callable[[str, float], None]) -> None:
        """Load the weights, compute two tokens, park and wake; see `TextEngine.load`."""
        tell("weights", 0.0)
        model = load_causal(self._settings)
        self._model = model
        self._batch = Batch(
            model,
            ends=self._settings.ends,
            prefill_tokens=self._prefill_tokens or PREFILL_TOKENS[model.device.type],
            prefix_bytes=self._prefix_bytes,
            # A processor's memory has no bound at which an error comes: the process is killed.
            cache_bytes=self._cache_bytes or model.free_bytes() // 2,
        )
        tell("warm-up", 0.9)
        self._is_leaving, self._is_resident = False, True
        self._thread.start()
        # A thread that computes while the interpreter goes away would abort the process.
        atexit.register(self.close)
        self._warm_up()
        self.park()
        self.wake()

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> BufferedStream:
        """Begin a text; see `TextEngine.add`. Raises `WorkerLost` when the engine is closed.

        Beyond the capacity it waits for its turn; while the engine is parked, until it wakes.
        """
        stream = BufferedStream(self._cancel)
        text = Writing(ids, sampling, seed, stream)
        with self._changed:
            if self._is_closed or self._batch is None:
                raise WorkerLost
            self._texts[stream] = text
            self._waiting.append(text)
            self._changed.notify_all()
        return stream

    def pause(self) -> None:
        """Compute nothing more; returns when the step under way is done."""
        with self._changed:
            self._is_paused = True
            self._changed.wait_for(lambda: not self._is_computing)

    def resume(self) -> None:
        """Go on; see `TextEngine.resume`."""
        with self._changed:
            self._is_paused = False
            self._changed.notify_all()

    def park(self) -> None:
        """Leave the device when the last text that runs has ended; see `TextEngine.park`.

        Texts that a pause holds are waited for as well: resume before. A text added meanwhile
        waits for `wake`.
        """
        with self._moves:
            with self._changed:
                self._is_leaving = True
                self._changed.wait_for(self._is_idle)
                if self._is_closed or not self._is_resident:
                    return
                self._is_resident = False
            batch, model = self._loaded()
            batch.forget()
            model.leave()

    def wake(self) -> None:
        """Come back; see `TextEngine.wake`."""
        with self._moves:
            if not self._is_resident and not self._is_closed:
                self._loaded()[1].enter()
            with self._changed:
                self._is_leaving, self._is_resident = False, True
                self._changed.notify_all()

    def footprint(self) -> Footprint:
        """Weights, and what running and ended texts hold; see `TextEngine.footprint`."""
        batch, model = self._batch, self._model
        if batch is None or model is None:
            return Footprint(weights_bytes=0, cache_bytes=0, resident=False)
        return Footprint(
            weights_bytes=model.weights_bytes,
            cache_bytes=batch.cache_bytes,
            host_bytes=model.host_bytes,
            resident=self._is_resident,
        )

    def close(self) -> None:
        """End every text with `WorkerLost` and let go of the weights."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        atexit.unregister(self.close)
        self._batch = self._model = None

    # ---- between the threads -----------------------------------------------------------------

    def _cancel(self, stream: BufferedStream) -> None:
        with self._changed:
            text = self._texts.get(stream)
            if text is not None:
                self._cancelled.append(text)
                self._changed.notify_all()

    def _warm_up(self) -> None:
        stream = self.add((1,), WARM_UP, 0)
        try:
            while stream.read(1.0).finish is None:
                pass
        except OutOfMemory:
            raise
        except AttemptError as error:
            self.close()
            raise ModelLoadFailed(BROKEN, cause=repr(error)) from error

    def _loaded(self) -> tuple[Batch, CausalModel]:
        if self._batch is None or self._model is None:
            raise WorkerLost
        return self._batch, self._model

    def _is_idle(self) -> bool:
        runs = self._batch is not None and bool(self._batch.running)
        return self._is_closed or not (runs or self._is_computing)

    # ---- the thread that computes ------------------------------------------------------------

    def _work(self) -> None:
        try:
            batch, _ = self._loaded()
            with torch.inference_mode():
                while self._take_turn(batch):
                    batch.step()
        finally:
            self._end_all()

    def _take_turn(self, batch: Batch) -> bool:
        """Do what was asked meanwhile, and wait for something to compute; False at the end."""
        with self._changed:
            self._is_computing = False
            while not self._is_closed:
                self._drop_ended(batch)
                self._admit(batch)
                if batch.running and not self._is_paused:
                    self._is_computing = True
                    return True
                # Each time: what was dropped just now may be what a park waits for.
                self._changed.notify_all()
                self._changed.wait()
            return False

    def _drop_ended(self, batch: Batch) -> None:
        for text in batch.take_ended():
            self._texts.pop(text.stream, None)
        cancelled, self._cancelled = self._cancelled, []
        for text in cancelled:
            if self._texts.pop(text.stream, None) is None:
                continue  # it had ended by itself
            if text in batch.running:
                batch.leave(text)
            else:
                self._waiting.remove(text)
                text.stream.close()

    def _admit(self, batch: Batch) -> None:
        free = self._settings.capacity - len(batch.running)
        while free > 0 and self._waiting and not self._is_leaving:
            if not batch.has_room(self._waiting[0]):
                return  # nobody overtakes it, so that it does not wait for ever
            batch.join(self._waiting.popleft())
            free -= 1

    def _end_all(self) -> None:
        """Nothing is computed any more, by `close` or by a fault of ours: nobody waits for it."""
        with self._changed:
            self._is_closed = True
            self._is_computing = False
            texts = list(self._texts.values())
            self._texts.clear()
            self._waiting.clear()
            self._changed.notify_all()
        for text in texts:
            text.stream.close(WorkerLost())


def _whole(settings: TextSettings, name: str, default: int, *, least: int) -> int:
    value = settings.options.get(name, default)
    if type(value) is not int or value < least:
        raise ConfigError(f"the text engine's option {name} must be a whole number from {least} on")
    return value
