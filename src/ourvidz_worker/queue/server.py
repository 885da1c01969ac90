"""What is asked of the server that keeps the lists, when a pod starts."""

import logging
from collections.abc import Iterator, Mapping

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.queue.wire import OLDEST
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)


def check_server(told: Mapping[str, str]) -> None:
    """Refuse a server that cannot do the work, warn of one that may lose it.

    `told` is what it says of itself by the names of `INFO`; what it does not say is not judged.
    Raises `ConfigError`.
    """
    if told.get("cluster_enabled", "0") == "1":
        raise ConfigError(
            "The Redis server is a cluster; the lists need a server that keeps them together",
            field="redis_url",
        )
    version = told.get("redis_version", "")
    if version and _numbers(version) < OLDEST:
        raise ConfigError(
            f"The Redis server is {version}; it must be {'.'.join(map(str, OLDEST))} or newer",
            field="redis_url",
        )
    for warning in _warnings(told):
        log.warning(warning, extra={"action": Action.QUEUE_AT_RISK})


def _warnings(told: Mapping[str, str]) -> Iterator[str]:
    if told.get("role", "master") != "master":
        yield "the Redis server is a replica: it may refuse to be written to"
    if told.get("aof_enabled", "1") == "0":
        yield "the Redis server keeps no append-only file: a restart of it may lose jobs"
    if told.get("maxmemory_policy", "noeviction") != "noeviction":
        yield "the Redis server evicts keys when memory is short: that may lose jobs"


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) if part.isdecimal() else 0 for part in parts)
