"""The application's lists over Upstash REST."""

from ourvidz_worker.clock import Clock
from ourvidz_worker.queue.list_queue import ListQueue
from ourvidz_worker.queue.settings import QueueSettings
from ourvidz_worker.queue.upstash_wire import UpstashWire


class UpstashQueue(ListQueue):
    """`Queue` and `Outbox` on an Upstash database at `settings.url`, with `settings.token`."""

    def __init__(self, settings: QueueSettings, clock: Clock) -> None:
        """Build the parts; nothing is touched before `open`."""
        super().__init__(settings, clock, UpstashWire(settings.url, settings.token))
