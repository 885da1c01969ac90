"""The application's lists, and pods that share them, for tests."""

import json
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec
import redis

from ourvidz_worker.domain.job import Lease
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue import Store, make_queue
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.queue_stores import QueueStores

TTL_S = 60.0
SDXL, WAN, CHAT = "sdxl_queue", "wan_queue", "chat_queue"
ALL_LANES = {Lane.IMAGE: 1, Lane.VIDEO: 1, Lane.CHAT: 1}


def job(job_id: str, kind: str = "sdxl_image_fast", **more: object) -> dict[str, object]:
    """A job object as the application writes it."""
    return {"id": job_id, "type": kind, "user_id": "ann", "prompt": "a fox é", **more}


def as_pushed(value: object) -> bytes:
    """An element in the application's present encoding: an array of one JSON string (Q-20)."""
    return json.dumps([json.dumps(value)]).encode()


class Lists:
    """One application's lists on one transport, its pods, and a clock that all go by."""

    def __init__(self, name: str, stores: QueueStores, folder: Path) -> None:
        self.name = name
        self.stores = stores
        self.clock = FakeClock()
        self.folder = folder
        self.client: redis.Redis = stores.server.client(stores.database(folder))
        self._application = httpx.Client(verify=False)
        self._open: list[Store] = []

    async def pod(self, name: str = "pod", *, lanes: Sequence[Lane] = tuple(Lane)) -> Store:
        """A pod with a state folder of that name, opened."""
        settings = self.stores.settings(self.name, self.folder / name, beside=self.folder)
        changed = msgspec.structs.replace(settings, lanes=tuple(lanes), worker_id="worker-1")
        store = make_queue(self.name, changed, self.clock)
        await store.open()
        self._open.append(store)
        return store

    async def close(self) -> None:
        """Close every pod."""
        for store in self._open:
            await store.close()
        self.client.close()
        self._application.close()

    def push(self, listed: str, *elements: object) -> None:
        """Push as the application does (Q-1): bytes as they are, objects in its encoding."""
        for element in elements:
            raw = element if isinstance(element, bytes) else as_pushed(element)
            self._push(listed, raw)

    def waiting(self, listed: str) -> list[bytes]:
        """The elements of a list, in order."""
        found: list[bytes] = self.client.lrange(listed, 0, -1)  # type: ignore[assignment] # sync
        return found

    def letters(self, listed: str) -> list[dict[str, object]]:
        """The dead letters of a list, oldest first, as they lie there."""
        found: list[bytes] = self.client.lrange(f"{listed}:dead", 0, -1)  # type: ignore[assignment]
        return [json.loads(each) for each in found]

    def leftovers(self) -> set[bytes]:
        """Names of what is still leased or waits, by the server's own account."""
        names = ("*_queue", "worker:leases:*", "worker:entry:*", "worker:delayed", "worker:due:*")
        return {key for pattern in names for key in self.client.scan_iter(pattern)}

    def _push(self, listed: str, raw: bytes) -> None:
        if self.name == "redis" or not raw:  # a request without a body is no element
            self.client.rpush(listed, raw)
            return
        front, database = self.stores.front, self.stores.database(self.folder)
        headers = {"Authorization": f"Bearer {front.token(database)}"}
        reply = self._application.post(f"{front.url}/rpush/{listed}", content=raw, headers=headers)
        assert reply.status_code == 200, reply.text


async def lease(store: Store, lane: Lane = Lane.IMAGE, count: int = 1) -> list[Lease]:
    """Lease at most `count` jobs of one lane."""
    return await store.lease("pod", {lane: count}, TTL_S)
