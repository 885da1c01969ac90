"""What `doctor` says of the application's lists over Upstash REST, changing nothing there."""

from http import HTTPStatus

import httpx
import msgspec

from ourvidz_worker.cli.finding import Finding, fault, warning, well
from ourvidz_worker.cli.redis_checks import LISTS

COMMANDS: list[list[str]] = [
    ["PING"],
    ["EVAL", "return 1", "0"],
    *(["LLEN", name] for name in LISTS),
]
REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class Reply(msgspec.Struct, frozen=True):
    """One command's result, or its error."""

    result: str | int | None = None
    error: str | None = None


async def check_upstash(url: str, token: str, timeout_s: float) -> list[Finding]:
    """Ask through the pipeline endpoint; one warning when it cannot be reached (O-3)."""
    address = f"{url.rstrip('/')}/pipeline"
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
            answer = await client.post(address, json=COMMANDS, headers=headers)
    except httpx.HTTPError as error:
        return [_unreachable(type(error).__name__)]
    if answer.status_code in REFUSED:
        cure = "set the read and write token of this database"
        return [fault("UPSTASH_REDIS_REST_TOKEN", "is refused", cure)]
    if answer.status_code != HTTPStatus.OK:
        return [_unreachable(f"it answers {answer.status_code}")]
    return _judge(answer.content)


def _judge(content: bytes) -> list[Finding]:
    try:
        replies = msgspec.json.decode(content, type=list[Reply])
    except msgspec.MsgspecError:
        replies = []
    if len(replies) != len(COMMANDS):
        cure = "write the REST address, https://NAME.upstash.io"
        return [fault("UPSTASH_REDIS_REST_URL", "does not speak Upstash REST", cure)]
    _, script, *lengths = replies
    found = []
    if script.error is not None:
        cure = "set the token that may read and write"
        found.append(fault("UPSTASH_REDIS_REST_TOKEN", "may not run scripts", cure))
    bad = [name for name, reply in zip(LISTS, lengths, strict=True) if reply.error is not None]
    found += [
        fault(name, "cannot be read as a list", "rename the key of that name") for name in bad
    ]
    if found:
        return found
    waiting = (f"{name} {reply.result}" for name, reply in zip(LISTS, lengths, strict=True))
    return [well("upstash", "answers"), well("lists", f"waiting: {', '.join(waiting)}")]


def _unreachable(reason: str) -> Finding:
    cure = "correct UPSTASH_REDIS_REST_URL; a pod waits for it, and takes no job meanwhile"
    return warning("upstash", f"cannot be reached ({reason})", cure)
