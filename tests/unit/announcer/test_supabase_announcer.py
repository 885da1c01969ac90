"""Registration stands, is seen to stand, and is repaired when it does not (contract 8)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ourvidz_worker.announcer import (
    ANNOUNCERS,
    Addresses,
    AnnouncerSettings,
    PodView,
    Side,
    make_announcer,
)
from ourvidz_worker.announcer.control_plane import PATIENCE_S
from ourvidz_worker.announcer.supabase import START_S, SupabaseAnnouncer
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.testing.supabase import (
    Application,
    CallClock,
    Fault,
    SupabaseEmulator,
    digest,
)

pytestmark = pytest.mark.anyio


class Scene:
    """A pod beside an application; time passes only while nobody is asked anything."""

    def __init__(self, supabase: SupabaseEmulator, application: Application) -> None:
        self.supabase = supabase
        self.application = application
        self.clock = CallClock({PATIENCE_S})
        self.ready: set[Side] = {"wan", "chat"}
        self.draining = False
        self.urls: dict[Side, str] = {
            "wan": f"{supabase.url}/_pod/wan",
            "chat": f"{supabase.url}/_pod/chat",
        }
        self.task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def announcing(
        self, *, refresh: bool = True, key: str | None = None, jitter: float = 0.5
    ) -> AsyncIterator[None]:
        settings = AnnouncerSettings(
            url=self.supabase.url,
            key=self.supabase.state.keys.service if key is None else key,
            addresses=Addresses(wan=self.urls["wan"], chat=self.urls["chat"]),
            refresh=refresh,
        )
        pod = PodView(ready=self.ready.__contains__, draining=lambda: self.draining)
        announcer = SupabaseAnnouncer(settings, pod, self.clock, lambda: jitter)
        self.task = asyncio.create_task(announcer.run())
        try:
            yield
        finally:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            await announcer.close()

    async def passes(self, seconds: float) -> None:
        """Let time pass by seconds, each after every call was answered."""
        for _ in range(round(seconds)):
            await self.settle()
            await self.clock.advance(1.0)
        await self.settle()

    async def until(self, condition: Callable[[], bool], *, within_s: float) -> float:
        """Let time pass until the condition holds; returns how long that took."""
        begun = self.clock.monotonic()
        await self.settle()
        while not condition():
            assert self.clock.monotonic() - begun < within_s, "it took too long"
            await self.passes(1.0)
        return self.clock.monotonic() - begun

    async def settle(self) -> None:
        """Wait until the announcer sleeps between its calls, or has ended."""
        assert self.task is not None
        await self.clock.settle(self.task)

    def stands(self) -> bool:
        config = self.application.config()
        seen = (config.get("workerUrl"), config.get("chatWorkerUrl"))
        return seen == (self.urls["wan"], self.urls["chat"])

    def names(self) -> list[str]:
        return [call.name for call in self.supabase.state.calls]

    def count(self, name: str) -> int:
        return self.names().count(name)

    def body(self, name: str) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.supabase.state.calls_of(name)[-1].body)
        return body


@pytest.fixture
def scene(supabase: SupabaseEmulator) -> Iterator[Scene]:
    application = Application.of(supabase, lambda _queue, _element: None)
    yield Scene(supabase, application)
    application.close()


async def test_both_sides_are_registered_one_after_the_other_and_read_back(scene: Scene) -> None:
    """G-3: image and video first, then chat, then the cache (G-4), then the read-back."""
    async with scene.announcing():
        await scene.until(scene.stands, within_s=15)
        await scene.passes(1)
    assert scene.names() == [
        "rest.get",
        "update-worker-url",
        "register-chat-worker",
        "health-check-workers",
        "rest.get",
    ]


async def test_the_calls_are_those_of_the_contract(scene: Scene) -> None:
    """Section 8: bodies, both headers, and the row that is read back."""
    async with scene.announcing():
        await scene.until(scene.stands, within_s=15)
        await scene.passes(1)
    wan = scene.body("update-worker-url")
    assert wan.pop("timestamp").endswith("Z")
    assert wan == {
        "worker_url": scene.urls["wan"],
        "auto_registered": True,
        "registration_method": "wan_worker_self_registration",
        "detection_method": "RUNPOD_POD_ID",
    }
    chat = scene.body("register-chat-worker")
    assert chat["registration_method"] == "pure_inference_chat_worker"
    assert chat["worker_type"] == "pure_inference_engine"
    assert isinstance(chat["capabilities"], dict)
    assert scene.body("health-check-workers") == {}
    service = scene.supabase.state.keys.service
    for call in scene.supabase.state.calls:
        assert call.headers["authorization"] == digest(f"Bearer {service}")
        assert call.headers["apikey"] == digest(service)
    path = scene.supabase.state.calls_of("rest.get")[0].path
    assert path == "/rest/v1/system_config?select=config&id=eq.1"


async def test_a_side_is_registered_once_it_is_ready(scene: Scene) -> None:
    """G-2: the other one follows by itself, without the first one again."""
    scene.ready.remove("chat")
    async with scene.announcing():
        await scene.passes(30)
        assert (scene.count("update-worker-url"), scene.count("register-chat-worker")) == (1, 0)
        scene.ready.add("chat")
        await scene.until(scene.stands, within_s=10)
        await scene.passes(1)
    assert (scene.count("update-worker-url"), scene.count("register-chat-worker")) == (1, 1)


async def test_a_side_that_starts_for_too_long_is_registered_all_the_same(scene: Scene) -> None:
    """G-2: after 300 s."""
    scene.ready.clear()
    async with scene.announcing():
        await scene.passes(START_S - 1)
        assert scene.names() == []
        await scene.until(scene.stands, within_s=15)


async def test_a_worker_that_cannot_be_reached_is_no_success(scene: Scene) -> None:
    """G-2: 200 alone proves nothing, for chat is stored even when unreachable."""
    scene.supabase.state.pods["chat"] = 503
    async with scene.announcing():
        await scene.until(scene.stands, within_s=15)
        await scene.passes(60)
        assert scene.count("register-chat-worker") > 2
        assert scene.count("update-worker-url") == 1
        del scene.supabase.state.pods["chat"]
        await scene.until(
            lambda: _info(scene.application)["health_status"] == "healthy", within_s=70
        )
        count = scene.count("register-chat-worker")
        await scene.passes(50)
        assert scene.count("register-chat-worker") == count


@pytest.mark.parametrize("lost", ["update-worker-url", "register-chat-worker"])
async def test_an_update_that_is_lost_at_once_is_made_again(scene: Scene, lost: str) -> None:
    """G-3: the function answered well, but somebody else wrote over it."""
    scene.supabase.state.faults.add(Fault(call=lost, how="lose"))
    async with scene.announcing():
        assert await scene.until(scene.stands, within_s=30) < 30
        assert scene.count(lost) == 2


@pytest.mark.parametrize("field", ["workerUrl", "chatWorkerUrl"])
@pytest.mark.parametrize("to", [None, "https://another.example"])
@pytest.mark.parametrize("jitter", [0.0, 1.0])
async def test_a_registration_lost_later_is_repaired_within_two_minutes(
    scene: Scene, field: str, to: str | None, jitter: float
) -> None:
    """G-3."""
    async with scene.announcing(jitter=jitter):
        await scene.until(scene.stands, within_s=30)
        await scene.passes(5)
        _write(scene.application, field, to)
        assert not scene.stands()
        assert await scene.until(scene.stands, within_s=120) <= 120


@pytest.mark.parametrize(
    "fault",
    [
        Fault(call="update-worker-url", status=500, times=3),
        Fault(call="update-worker-url", status=400, times=3),
        Fault(call="update-worker-url", status=200, body='{"success":false}', times=3),
        Fault(call="update-worker-url", status=200, body="not JSON", times=3),
        Fault(call="update-worker-url", how="cut", times=3),
        Fault(call="update-worker-url", how="cut", executed=True, times=3),
        Fault(call="register-chat-worker", status=429, times=3),
        Fault(call="register-chat-worker", status=200, body='{"success":true}', times=3),
        Fault(call="rest.get", status=503, times=4),
        Fault(call="rest.get", status=200, body="[]", times=4),
        Fault(call="health-check-workers", status=500, times=None),
        Fault(call="health-check-workers", how="cut", times=None),
    ],
    ids=lambda fault: f"{fault.call}-{fault.how}-{fault.status}-{fault.body[:9]}",
)
async def test_every_passing_fault_is_outlived(scene: Scene, fault: Fault) -> None:
    """G-3: again and again, for ever."""
    scene.supabase.state.faults.add(fault)
    async with scene.announcing():
        await scene.until(scene.stands, within_s=60)
        await scene.passes(70)
        assert scene.stands()
        assert not _task(scene).done()


async def test_a_silent_function_is_given_up_and_asked_again(scene: Scene) -> None:
    """Section 8: 15 s for each call."""
    scene.supabase.state.faults.add(Fault(call="update-worker-url", how="hang"))
    async with scene.announcing():
        await scene.settle()
        await scene.clock.advance(3.0)
        await asyncio.to_thread(scene.supabase.state.wait_for, "update-worker-url")
        await scene.clock.advance(PATIENCE_S)
        await scene.until(scene.stands, within_s=30)
        await scene.passes(1)
    assert scene.count("update-worker-url") == 2


async def test_refused_keys_are_tried_ever_more_rarely(scene: Scene) -> None:
    """G-3: back-off to 60 s."""
    async with scene.announcing(key="a key of nobody", jitter=1.0):
        await scene.passes(300)
        early = len(scene.names())
        await scene.passes(300)
        late = len(scene.names()) - early
    assert late < early
    assert scene.count("update-worker-url") in range(10, 20)


async def test_the_cache_is_refreshed_every_minute(scene: Scene) -> None:
    """G-4: registration drops the chat entry's address, the refresh brings it back."""
    async with scene.announcing():
        await scene.until(scene.stands, within_s=15)
        await scene.passes(1)
        cache = scene.application.config()["workerHealthCache"]
        assert cache["chatWorker"]["workerUrl"] == scene.urls["chat"]
        assert cache["wanWorker"]["isHealthy"] is True
        for expected in (2, 3, 4):
            await scene.passes(60)
            assert scene.count("health-check-workers") == expected
    assert scene.count("update-worker-url") == 1


async def test_the_refresh_can_be_off(scene: Scene) -> None:
    """G-4: CONTROL_PLANE_HEALTH_REFRESH."""
    async with scene.announcing(refresh=False):
        await scene.until(scene.stands, within_s=15)
        await scene.passes(120)
    assert scene.count("health-check-workers") == 0


@pytest.mark.parametrize(
    ("off", "left"), [("chat", "update-worker-url"), ("wan", "register-chat-worker")]
)
async def test_each_side_can_be_off(scene: Scene, off: Side, left: str) -> None:
    """G-3."""
    scene.urls[off] = ""
    async with scene.announcing():
        await scene.passes(120)
    registrations = {name for name in scene.names() if "worker" in name} - {"health-check-workers"}
    assert registrations == {left}


async def test_without_addresses_nobody_is_told(scene: Scene) -> None:
    """G-1: registration is off."""
    scene.urls = {"wan": "", "chat": ""}
    async with scene.announcing():
        await _task(scene)
    assert scene.names() == []


async def test_draining_ends_it_and_takes_nothing_back(scene: Scene) -> None:
    """G-5."""
    async with scene.announcing():
        await scene.until(scene.stands, within_s=15)
        await scene.passes(1)
        before = len(scene.names())
        scene.draining = True
        await scene.clock.advance(1.0)
        await _task(scene)
        assert len(scene.names()) == before
    assert scene.stands()


async def test_the_row_is_never_written_by_us(scene: Scene) -> None:
    """G-5: the functions alone write it."""
    async with scene.announcing():
        await scene.until(scene.stands, within_s=15)
        _write(scene.application, "workerUrl", None)
        await scene.until(scene.stands, within_s=120)
    writes = {call.method for call in scene.supabase.state.calls if "/rest/" in call.path}
    assert writes == {"GET"}


async def test_no_log_shows_a_key_or_an_address(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """H-4."""
    scene.supabase.state.faults.add(Fault(call="update-worker-url", status=400))
    scene.supabase.state.faults.add(Fault(call="rest.get", how="cut"))
    async with scene.announcing():
        await scene.until(scene.stands, within_s=30)
    told = " ".join(str(vars(record)) for record in caplog.records)
    assert "registration_failed" in told
    assert scene.supabase.state.keys.service not in told
    assert scene.supabase.url not in told


async def test_announcers_are_chosen_by_name(scene: Scene) -> None:
    pod = PodView(ready=lambda _: True, draining=lambda: True)
    settings = AnnouncerSettings(url=scene.supabase.url, key="key")
    for name in ANNOUNCERS:
        announcer = make_announcer(name, settings, pod, scene.clock, lambda: 0.0)
        await announcer.run()
        await announcer.close()
    assert scene.names() == []
    with pytest.raises(ConfigError):
        make_announcer("nobody", settings, pod, scene.clock, lambda: 0.0)


def _task(scene: Scene) -> "asyncio.Task[None]":
    assert scene.task is not None
    return scene.task


def _info(application: Application) -> dict[str, Any]:
    info: dict[str, Any] = application.config()["chatWorkerRegistrationInfo"]
    return info


def _write(application: Application, field: str, value: str | None) -> None:
    """What another writer of the row does."""
    config = application.config()
    application.set_config({**config, field: value})
