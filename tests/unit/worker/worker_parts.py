"""What the worker's tests share: requests, runs, and threads that are moved by hand."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ourvidz_worker.domain.errors import OurvidzError, WorkerLost
from ourvidz_worker.domain.messages import Description, Report, Run
from ourvidz_worker.domain.request import (
    ChatRequest,
    ImageRequest,
    Message,
    Request,
    Sampling,
    VideoRequest,
)
from ourvidz_worker.engines import Engine, EngineSettings, Gate, Product, Stage, Task, make_engine
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.worker.threads import Threads

Kind = TypeVar("Kind", bound=Report)

PICTURE = ImageRequest(
    job_type="sdxl_image_fast",
    prompt="a red kite over dunes",
    negative_prompt=None,
    steps=4,
    guidance=6.0,
    width=64,
    height=48,
)
CLIP = VideoRequest(
    job_type="video_fast",
    prompt="a red kite over dunes",
    negative_prompt=None,
    steps=2,
    guidance=6.5,
    width=48,
    height=64,
    frames=5,
)
TALK = ChatRequest(
    job_type="chat_conversation",
    sampling=Sampling(max_tokens=64),
    messages=(Message(role="user", content="tell me of the dunes"),),
)


def make_run(
    folder: Path, attempt_id: str = "a1", request: Request = PICTURE, *, deadline_s: float = 60.0
) -> Run:
    """A Run with a spool of its own below `folder`."""
    spool = folder / attempt_id
    spool.mkdir()
    return Run(
        attempt_id=attempt_id,
        job_id=f"job-{attempt_id}",
        request=request,
        seed=7,
        spool=str(spool),
        deadline_s=deadline_s,
    )


def fake_engine(**options: str | int | float | bool) -> Engine[Any]:
    return make_engine("fake", EngineSettings(options=options))


def lose_engine(_gate: Gate) -> None:
    """A stage in which the engine's own process dies."""
    raise WorkerLost


class HandExecutor(Executor):
    """Runs what was submitted when the test says so, in order; a cancelled call never runs."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(  # type: ignore[override]  # the one form that is used
        self, function: Callable[..., Any], /, *arguments: object
    ) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: function(*arguments)))
        return future

    def work(self, most: int = 100) -> int:
        """Run up to `most` calls; how many ran."""
        done = 0
        while self.waiting and done < most:
            future, call = self.waiting.pop(0)
            if not future.set_running_or_notify_cancel():
                continue
            done += 1
            try:
                future.set_result(call())
            except (OurvidzError, RuntimeError) as error:
                future.set_exception(error)
        return done


class Hands:
    """The three kinds of thread, and what the test holds of them."""

    def __init__(self) -> None:
        self.load, self.compute, self.encode = HandExecutor(), HandExecutor(), HandExecutor()
        self.capacities: list[int] = []

    def threads(self) -> Threads:
        def compute(capacity: int) -> Executor:
            self.capacities.append(capacity)
            return self.compute

        return Threads(load=self.load, compute=compute, encode=self.encode)


class ScriptedEngine:
    """An engine that does in each part what a test tells it."""

    def __init__(
        self,
        *,
        clock: FakeClock | None = None,
        begin: Callable[[], None] = lambda: None,
        stage: Callable[[Gate], None] = lambda gate: None,
        finish: Callable[[Path], None] = lambda spool: None,
        product: Product | None = None,
    ) -> None:
        self._clock, self._begin, self._stage, self._finish = clock, begin, stage, finish
        self._product = product or Product(artifacts=(), effective={})
        self.closed = False
        self.tasks: list[Task] = []

    def load(self, tell: Callable[[str, float], None]) -> None:
        tell("all", 1.0)

    def describe(self) -> Description:
        return Description(engine="scripted", model="none", device="cpu", peak_bytes=0)

    def begin(self, task: Task) -> str:
        self.tasks.append(task)
        self._begin()
        return "work"

    def stages(self, task: Task) -> Sequence[Stage[str]]:
        def run(work: str, gate: Gate) -> str:
            self._stage(gate)
            return work

        return [Stage(name="only", components=(), run=run, share=1.0)]

    def finish(self, work: str, spool: Path) -> Product:
        self._finish(spool)
        return self._product

    def close(self) -> None:
        self.closed = True


def only(reports: Sequence[Report], kind: type[Kind]) -> list[Kind]:
    """The reports of one kind."""
    return [report for report in reports if isinstance(report, kind)]


def with_raw(request: ImageRequest = PICTURE) -> ImageRequest:
    """A request that carries raw JSON of its caller."""
    raw = msgspec.Raw(b'{"z": [1, null], "a": "b"}')
    recorded = msgspec.structs.replace(request.recorded, passed_through={"metadata": raw})
    return msgspec.structs.replace(request, recorded=recorded)
