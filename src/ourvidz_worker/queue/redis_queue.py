"""The application's lists over TCP."""

from ourvidz_worker.clock import Clock
from ourvidz_worker.queue.list_queue import ListQueue
from ourvidz_worker.queue.redis_wire import RedisWire
from ourvidz_worker.queue.settings import QueueSettings


class RedisQueue(ListQueue):
    """`Queue` and `Outbox` on a Redis server at `settings.url`."""

    def __init__(self, settings: QueueSettings, clock: Clock) -> None:
        """Build the parts; nothing is touched before `open`."""
        super().__init__(settings, clock, RedisWire(settings.url))
