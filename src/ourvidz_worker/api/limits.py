"""How much a caller without a key may ask for, by source address (A-6)."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import RateLimited

MINUTE_S = 60.0

NETWORK_BITS = 64
"""One IPv6 subscriber has at least a network of this size, so it counts as one source."""


@dataclass
class _Source:
    tokens: float
    filled_at: float
    running: int = 0


class RateLimit:
    """A bucket of tokens and a number of places for each source; the table is bounded.

    A bucket holds a minute's worth and refills evenly. The source served longest ago is forgotten
    first, never one that is being served.
    """

    def __init__(
        self, clock: Clock, *, per_minute: int, concurrent: int, sources: int = 10_000
    ) -> None:
        """Allow `per_minute` requests, `concurrent` of them at once, from each source."""
        self._clock = clock
        self._per_minute = per_minute
        self._concurrent = concurrent
        self._most = sources
        self._sources: OrderedDict[str, _Source] = OrderedDict()

    @contextmanager
    def place(self, address: str) -> Iterator[None]:
        """Hold one of the source's places. Raises `RateLimited`."""
        source = self._find(source_of(address))
        if source.running >= self._concurrent:
            raise RateLimited(retry_after_s=1)
        if source.tokens < 1:
            raise RateLimited(retry_after_s=(1 - source.tokens) * MINUTE_S / self._per_minute)
        source.tokens -= 1
        source.running += 1
        try:
            yield
        finally:
            source.running -= 1

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._sources)

    def _find(self, name: str) -> _Source:
        now = self._clock.monotonic()
        source = self._sources.pop(name, None)
        if source is None:
            self._make_room()
            source = _Source(tokens=self._per_minute, filled_at=now)
        earned = (now - source.filled_at) * self._per_minute / MINUTE_S
        source.tokens = min(self._per_minute, source.tokens + earned)
        source.filled_at = now
        self._sources[name] = source
        return source

    def _make_room(self) -> None:
        if len(self._sources) < self._most:
            return
        idle = next((name for name, source in self._sources.items() if not source.running), None)
        if idle is None:
            raise RateLimited(retry_after_s=1)
        del self._sources[idle]


def source_of(address: str) -> str:
    """Who counts as one: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return f"{IPv6Address(int(ip) >> NETWORK_BITS << NETWORK_BITS)}/{NETWORK_BITS}"
