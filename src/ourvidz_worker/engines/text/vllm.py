"""The text engine of a CUDA card: vLLM, which batches, pages its cache and replays CUDA graphs.

vLLM computes in a process of its own, our child. Its front end lives on an event loop in a thread
here; a text is a task on that loop that writes into its stream. Ids go in and ids come out: vLLM
has no tokenizer, no template and no generation configuration of the model's (T-1, P-1).
"""

import asyncio
import itertools
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from threading import Lock
from typing import Any, TypeVar

from ourvidz_worker.domain.errors import (
    AttemptError,
    ModelLoadFailed,
    OurvidzError,
    OutOfMemory,
    WorkerLost,
)
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines.tensors import FAULT
from ourvidz_worker.engines.text.base import Footprint, Token, Tokens
from ourvidz_worker.engines.text.settings import TextSettings
from ourvidz_worker.engines.text.stream import BufferedStream, joined
from ourvidz_worker.engines.text.vllm_child import NO_MEMORY, NO_MEMORY_SIGN
from ourvidz_worker.engines.text.vllm_library import Library, open_library
from ourvidz_worker.engines.text.vllm_loop import LoopThread
from ourvidz_worker.engines.text.vllm_numbers import NO_NUMBERS, Doubt, are_numbers
from ourvidz_worker.engines.text.vllm_options import (
    engine_arguments,
    read_options,
    visible_devices,
)
from ourvidz_worker.engines.text.vllm_sampling import sampling_arguments, tokens_of
from ourvidz_worker.engines.text.vllm_weights import weights_bytes

Result = TypeVar("Result")

WARM_UPS = (
    Sampling(max_tokens=4, temperature=0.0),
    Sampling(
        max_tokens=4,
        top_k=5,
        frequency_penalty=0.1,
        presence_penalty=0.1,
        repetition_penalty=1.1,
        logprobs=1,
    ),
)
"""Between them they run every kernel that is built at its first use."""

WARM_UP_IDS = tuple(range(1, 17))
SECOND_LOOK = Sampling(max_tokens=1, temperature=0.0, logprobs=0)

CROWD = 16
"""Beside fewer texts than these each token is told at once."""

MOST_AT_ONCE = 4

_OUT_OF_MEMORY = re.compile(rf"{NO_MEMORY_SIGN}|Failed core proc.*: {NO_MEMORY}\b")


class VllmText:
    """The `TextEngine` over vLLM's asynchronous engine.

    When vLLM's process has died, every call and every text raises `WorkerLost`: this process is
    then of no more use, and must be started anew.
    """

    def __init__(self, settings: TextSettings) -> None:
        """Nothing is loaded yet. Raises `ConfigError` for an option that is malformed."""
        self._options = read_options(settings.options)
        self._settings = settings
        self._dtype = "bfloat16" if settings.dtype == "auto" else settings.dtype
        self._context = min(settings.context, self._options.max_model_len)
        self._loop = LoopThread("vllm")
        self._library: Library | None = None
        self._engine: Any = None
        self._names = itertools.count(1)
        self._moves = Lock()
        self._awake = asyncio.Event()
        self._texts: dict[BufferedStream, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._weights_bytes = self._host_bytes = 0
        self._paused = self._parked = self._closing = False

    # ---- the port ------------------------------------------------------------------------

    def load(self, tell: Callable[[str, float], None]) -> None:
        """Start vLLM, and go through its first, slow sleep; see `TextEngine.load`."""
        tell("vllm", 0.0)
        library = self._library = open_library()
        self._weights_bytes = weights_bytes(
            self._settings.model, self._dtype, from_files=self._options.load_format != "dummy"
        )
        self._show_device()
        with ExitStack() as undo:
            undo.callback(self.close)
            self._loop.start()
            self._call(self._start(library), ModelLoadFailed)
            tell("warm-up", 0.7)
            self._call(self._warm_up(), ModelLoadFailed)
            # The first sleep takes the host's memory for the weights, 13.5 s for 15 GB: now,
            # when nobody waits, not at the first switch.
            tell("park", 0.8)
            self.park()
            self.wake()
            self._call(self._warm_up(), ModelLoadFailed)
            undo.pop_all()

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> BufferedStream:
        """Begin a text; see `TextEngine.add`. Raises `RequestError`, `WorkerLost`."""
        if self._engine is None or self._closing or self._engine.errored:
            raise WorkerLost
        arguments = sampling_arguments(sampling, seed, self._settings.ends)
        stream = BufferedStream(self._cancel)
        self._loop.post(self._begin, stream, tuple(ids), arguments)
        return stream

    def pause(self) -> None:
        """Compute nothing more; see `TextEngine.pause`."""
        with self._moves:
            self._paused = True
            if not self._parked:
                self._call(self._hold())

    def resume(self) -> None:
        """Go on; see `TextEngine.resume`."""
        with self._moves:
            self._paused = False
            if not self._parked:
                self._call(self._engine.resume_generation())

    def park(self) -> None:
        """Wait until no text runs, then leave the card; a text added meanwhile waits for `wake`.

        Texts that a pause holds are waited for as well: resume before.
        """
        with self._moves:
            if not self._parked:
                self._call(self._sleep())
                self._parked = True
                # vLLM lets go of its copy at each wake, but the pinned memory stays taken.
                self._host_bytes = self._weights_bytes

    def wake(self) -> None:
        """Come back; see `TextEngine.wake`. Without room nothing is touched, and it may be
        tried again."""
        with self._moves:
            if self._parked:
                self._call(self._wake())
                self._parked = False

    def footprint(self) -> Footprint:
        """Known bytes, not measured ones: graphs and the library's own are not counted."""
        return Footprint(
            weights_bytes=self._weights_bytes,
            cache_bytes=self._options.cache_bytes,
            host_bytes=self._host_bytes,
            resident=not self._parked,
        )

    def close(self) -> None:
        """End every text and vLLM's process; see `TextEngine.close`."""
        with self._moves:
            if not self._loop.is_running:
                return
            self._closing = True
            self._call(self._shut_down())
            self._engine = None
            self._loop.stop()

    # ---- in the caller's thread ----------------------------------------------------------

    def _call(
        self,
        work: Coroutine[Any, Any, Result],
        failure: type[OurvidzError] = AttemptError,
    ) -> Result:
        return self._loop.call(work, lambda error: self._ours(error, failure))

    def _ours(self, error: BaseException, failure: type[OurvidzError]) -> OurvidzError:
        """The one border at which vLLM's errors become ours."""
        if isinstance(error, OurvidzError):
            return error
        if _OUT_OF_MEMORY.search(str(error)):
            return OutOfMemory(cause=repr(error))
        if self._engine is not None and self._engine.errored:
            return WorkerLost(cause=repr(error))
        return failure(cause=repr(error))

    def _show_device(self) -> None:
        # vLLM takes the first card it sees; this process has no other use of the variable.
        present = os.environ.get("CUDA_VISIBLE_DEVICES")  # noqa: TID251 - vLLM reads it there
        shown = visible_devices(self._settings.device, present)
        if shown is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = shown  # noqa: TID251 - and nowhere else

    def _cancel(self, stream: BufferedStream) -> None:
        if self._loop.is_running:
            self._loop.post(self._end, stream)

    # ---- on the loop ---------------------------------------------------------------------

    async def _start(self, library: Library) -> None:
        arguments = engine_arguments(
            self._settings.model,
            self._options,
            context=self._context,
            capacity=self._settings.capacity,
            dtype=self._dtype,
        )
        self._engine = library.engine.from_engine_args(library.engine_arguments(**arguments))
        self._awake.set()

    async def _warm_up(self) -> None:
        for sampling in WARM_UPS:
            tokens = await self._drawn(WARM_UP_IDS, sampling)
            if not are_numbers(tokens):
                raise ModelLoadFailed(NO_NUMBERS)

    def _begin(
        self, stream: BufferedStream, ids: tuple[int, ...], arguments: dict[str, Any]
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._write(stream, ids, arguments))
        self._texts[stream] = task
        task.add_done_callback(lambda done: self._ended(stream, done))

    def _end(self, stream: BufferedStream) -> None:
        task = self._texts.get(stream)
        if task is not None:
            task.cancel()

    def _ended(self, stream: BufferedStream, task: asyncio.Task[None]) -> None:
        del self._texts[stream]
        self._running.discard(task)
        if task.cancelled():
            stream.close(WorkerLost() if self._closing else None)
            return
        error = task.exception()
        if error is not None:
            stream.close(self._ours(error, AttemptError))

    async def _write(
        self, stream: BufferedStream, ids: tuple[int, ...], arguments: dict[str, Any]
    ) -> None:
        """Write one text into its stream, from its first token to its last."""
        await self._awake.wait()
        task = asyncio.current_task()
        if task is not None:
            self._running.add(task)
        written: list[int] = []
        held: list[Tokens] = []
        wanted = 1  # the first is told as soon as it comes
        doubt = Doubt()
        async for output in self._generate(ids, arguments):
            part = tokens_of(output, arguments["logprobs"])
            if not are_numbers(part.tokens):
                raise AttemptError(FAULT)
            written.extend(token.id for token in part.tokens)
            if doubt.rises(part.tokens):
                await self._look_again((*ids, *written)[: self._context - 1])
            held.append(part)
            if part.finish or len(held) >= wanted:
                stream.put(joined(held))
                held, wanted = [], self._several()

    def _several(self) -> int:
        """How many steps of a text are told at once.

        In a crowd, waking a thread for each token of each text costs more than all the rest; four
        steps of 64 texts are 34 ms.
        """
        return min(MOST_AT_ONCE, 1 + (len(self._running) - 1) // CROWD)

    async def _look_again(self, ids: Sequence[int]) -> None:
        if not are_numbers(await self._drawn(ids, SECOND_LOOK)):
            # The cache holds what spoils every text that begins alike.
            await self._engine.reset_prefix_cache()
            raise AttemptError(FAULT)

    def _generate(self, ids: Sequence[int], arguments: dict[str, Any]) -> Any:  # noqa: ANN401
        if self._library is None:
            raise WorkerLost
        parameters = self._library.sampling(**arguments, output_kind=self._library.deltas)
        prompt = {"prompt_token_ids": list(ids)}
        return self._engine.generate(prompt, parameters, f"text-{next(self._names)}")

    async def _drawn(self, ids: Sequence[int], sampling: Sampling) -> list[Token]:
        """A short text of our own, whole."""
        arguments = sampling_arguments(sampling, 0, ())
        tokens: list[Token] = []
        async for output in self._generate(ids, arguments):
            tokens.extend(tokens_of(output, sampling.logprobs).tokens)
        return tokens

    async def _hold(self) -> None:
        # "keep": what runs keeps its cache and goes on later; what is added waits.
        await self._engine.pause_generation(mode="keep", clear_cache=False)

    async def _sleep(self) -> None:
        with ExitStack() as undo:
            self._awake.clear()
            undo.callback(self._awake.set)
            while self._running:
                await asyncio.wait(self._running)
            # Level 1 keeps the weights in the host's memory and forgets the cache, with it
            # what it knew of prefixes.
            await self._engine.sleep(level=1, mode="wait")
            undo.pop_all()

    async def _wake(self) -> None:
        needed = self._weights_bytes + self._options.cache_bytes
        (free,) = await self._engine.collective_rpc("free_bytes")
        if free < needed:
            # Asked before, because a wake that breaks off half way cannot be tried again.
            raise OutOfMemory(free_bytes=free, needed_bytes=needed)
        await self._engine.wake_up()
        if self._paused:
            await self._hold()
        self._awake.set()

    async def _shut_down(self) -> None:
        tasks = list(self._texts.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._engine is not None:
            self._engine.shutdown()
