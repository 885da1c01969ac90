"""What `doctor` says of the application's Redis, asked by commands that change nothing."""

import asyncio
from collections.abc import Callable, Mapping

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from ourvidz_worker.cli.finding import Finding, fault, warning, well

LISTS = ("sdxl_queue", "wan_queue", "chat_queue")
OLDEST_REDIS = (6, 2)

Info = Mapping[str, object]


async def check_redis(url: str, timeout_s: float) -> list[Finding]:
    """Connect, and ask what the server is; one warning when it cannot be reached (O-3)."""
    client = Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
    )
    try:
        async with asyncio.timeout(timeout_s):
            return await _ask(client)
    except AuthenticationError:
        return [fault("REDIS_URL", "the password is refused", "correct it in the address")]
    except (RedisError, OSError, TimeoutError) as error:
        cure = "start it, or correct REDIS_URL; a pod waits for it, and takes no job meanwhile"
        return [warning("redis", f"cannot be reached ({type(error).__name__})", cure)]
    finally:
        await client.aclose()


async def _ask(client: Redis) -> list[Finding]:
    await client.ping()
    return [*await _server(client), *await _lists(client), *await _scripts(client)]


async def _server(client: Redis) -> list[Finding]:
    try:
        info: Info = await client.info()
    except (NoPermissionError, ResponseError):
        told, cure = "INFO is not allowed: what it keeps is unknown", "let this user call INFO"
        return [warning("redis", told, cure)]
    return judge_server(info)


def judge_server(info: Info) -> list[Finding]:
    """What the server says of itself, row by row of the table below."""
    told = str(info.get("redis_version", "?"))
    found = [judged for judge in JUDGES if (judged := judge(info)) is not None]
    return [well("redis", f"version {told}, answers"), *found]


def _version(info: Info) -> Finding | None:
    digits = str(info.get("redis_version", "0")).split(".")
    version = tuple(int(part) for part in digits[:2] if part.isdecimal())
    if version >= OLDEST_REDIS:
        return None
    return fault("redis", "is older than 6.2", "upgrade it")


def _role(info: Info) -> Finding | None:
    if info.get("role") == "master":
        return None
    return fault("redis", f"is a {info.get('role')}: it cannot be written", "name the master")


def _append_only(info: Info) -> Finding | None:
    if info.get("aof_enabled"):
        return None
    return warning("redis", "a restart of it forgets waiting jobs", "set appendonly yes")


def _eviction(info: Info) -> Finding | None:
    if info.get("maxmemory_policy") in {None, "noeviction"}:
        return None
    told = f"when full it throws keys away ({info.get('maxmemory_policy')}), jobs among them"
    return warning("redis", told, "set maxmemory-policy noeviction")


def _cluster(info: Info) -> Finding | None:
    if not info.get("cluster_enabled"):
        return None
    return fault("redis", "is a cluster: a pod refuses it", "use a server that is none")


JUDGES: tuple[Callable[[Info], Finding | None], ...] = (
    _version,
    _role,
    _append_only,
    _eviction,
    _cluster,
)


async def _lists(client: Redis) -> list[Finding]:
    found, lengths = [], []
    for name in LISTS:
        try:
            lengths.append(f"{name} {await client.llen(name)}")
        except NoPermissionError:
            found.append(fault(name, "may not be read", "let this Redis user use the list's keys"))
        except ResponseError:
            found.append(fault(name, "is a key of another kind than a list", "rename that key"))
    return found or [well("lists", f"waiting: {', '.join(lengths)}")]


async def _scripts(client: Redis) -> list[Finding]:
    try:
        await client.eval("return 1", 0)
    except (NoPermissionError, ResponseError):
        return [fault("redis", "scripts are not allowed", "let this Redis user call EVAL, EVALSHA")]
    return []
