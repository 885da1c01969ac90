"""A registration that another writer overwrites is seen to be lost, and repaired (line 35)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.contract.never_again.worlds import Deployed, records, until, world_of

from ourvidz_worker.announcer import Addresses, AnnouncerSettings, PodView, make_announcer
from ourvidz_worker.announcer.control_plane import PATIENCE_S
from ourvidz_worker.testing.deployment import FAKE
from ourvidz_worker.testing.pod_process import free_ports
from ourvidz_worker.testing.supabase import Application, CallClock, Fault, SupabaseEmulator

pytestmark = pytest.mark.e2e

REPAIRED_WITHIN_S = 120.0
FIELDS = ("workerUrl", "chatWorkerUrl")
WRITERS = ("update-worker-url", "register-chat-worker")


class Scene:
    """An announcer beside an application; time passes only while nobody is asked anything."""

    def __init__(self, supabase: SupabaseEmulator, jitter: float) -> None:
        self.application = Application.of(supabase, lambda _queue, _element: None)
        self.urls = (f"{supabase.url}/_pod/wan", f"{supabase.url}/_pod/chat")
        self._clock = CallClock({PATIENCE_S})
        settings = AnnouncerSettings(
            url=supabase.url,
            key=supabase.state.keys.service,
            addresses=Addresses(wan=self.urls[0], chat=self.urls[1]),
        )
        pod = PodView(ready=lambda _: True, draining=lambda: False)
        self._announcer = make_announcer("supabase", settings, pod, self._clock, lambda: jitter)

    @asynccontextmanager
    async def announcing(self) -> AsyncIterator[None]:
        """Announce until the context ends."""
        self._task = asyncio.create_task(self._announcer.run())
        try:
            yield
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._announcer.close()
            self.application.close()

    async def passes(self, seconds: float) -> None:
        """Let time pass by seconds, each after every call was answered."""
        for _ in range(round(seconds)):
            await self._clock.settle(self._task)
            await self._clock.advance(1.0)
        await self._clock.settle(self._task)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let time pass until that is true, which must be within two minutes."""
        end = self._clock.monotonic() + REPAIRED_WITHIN_S
        while not holds():
            assert self._clock.monotonic() < end, "not within two minutes"
            await self.passes(1)

    def stands(self) -> bool:
        """True when the application has both addresses."""
        return seen_in(self.application.config()) == self.urls


def seen_in(config: dict[str, Any]) -> tuple[object, ...]:
    """What the application has stored of both sides."""
    return tuple(config.get(field) for field in FIELDS)


@pytest.mark.anyio
@pytest.mark.parametrize(("after_s", "jitter"), [(1, 0.0), (30, 1.0), (59, 0.5)])
async def test_35_what_a_slower_writer_puts_back_is_repaired(
    supabase: SupabaseEmulator, after_s: int, jitter: float
) -> None:
    """G-3: it read the row before the pod registered, and writes it whole some time after."""
    scene = Scene(supabase, jitter)
    stale = scene.application.config()
    async with scene.announcing():
        await scene.until(scene.stands)
        await scene.passes(after_s)
        scene.application.set_config({**stale, "written_by": "another"})
        assert not scene.stands()
        await scene.until(scene.stands)
        assert scene.application.config()["written_by"] == "another", "its own part is kept"


@pytest.mark.anyio
@pytest.mark.parametrize("lost", WRITERS)
async def test_35_what_is_lost_in_the_writing_is_repaired(
    supabase: SupabaseEmulator, lost: str
) -> None:
    """G-3: the function says that it went well, and the row has nothing of it, twice."""
    supabase.state.faults.add(Fault(call=lost, how="lose", times=2))
    scene = Scene(supabase, 0.5)
    async with scene.announcing():
        await scene.until(scene.stands)
        assert len(supabase.state.calls_of(lost)) == 3


def test_35_a_real_pod_sees_to_its_own_registration(tmp_path: Path) -> None:
    """G-1 to G-3: started with its addresses, it stands although its first call was lost."""
    with world_of("deployed", tmp_path) as world:
        assert isinstance(world, Deployed)
        world.application.add_fault(Fault(call="update-worker-url", how="lose"))
        wan, chat = free_ports(2)
        urls = (f"http://localhost:{wan}", f"http://localhost:{chat}")
        ports = ("--port", str(wan), "--chat-port", str(chat))
        public = {"WORKER_PUBLIC_URL": urls[0], "CHAT_WORKER_PUBLIC_URL": urls[1]}
        with world.world.pod("pod", *ports, **FAKE, **public) as pod:
            until(lambda: seen_in(world.application.config()) == urls, within_s=60.0)
            until(lambda: records(pod, "registered"))
            calls = [call.name for call in world.application.calls() if call.name in WRITERS]
            assert calls == [*WRITERS, WRITERS[0]]
