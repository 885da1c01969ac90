"""What both shells share of the network: settings, tries, and the names of its failures."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from ourvidz_worker.client.errors import ConnectionFailed, Problem, Rejected
from ourvidz_worker.domain.ids import ID_RULE, is_id

RETRY_PAUSES_S = (0.2, 1.0)
"""Waits before the second and third try of a repeatable call that found no connection."""

PATIENCE_S = 60.0
"""How long a lost stream of events is mended: longer than a pod takes to start again."""

CONNECT_S = 5.0

ID_NAMES = ("id", "job_id", "jobId")


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    """How the HTTP library is set up."""

    base_url: httpx.URL
    headers: dict[str, str]
    timeout: httpx.Timeout


def http_settings(url: str, key: str, timeout_s: float) -> HttpSettings:
    """Settings for a pod at `url`. Raises `ConnectionFailed` when `url` is no http address."""
    try:
        base_url = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConnectionFailed(f"{url} is not an address.") from error
    if base_url.scheme not in {"http", "https"} or not base_url.host:
        raise ConnectionFailed(f"{url} is not an address; it must begin with http:// or https://.")
    headers = {"User-Agent": "ourvidz-worker-client"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    timeout = httpx.Timeout(timeout_s, connect=CONNECT_S)
    return HttpSettings(base_url=base_url, headers=headers, timeout=timeout)


def timeout_of(patience_s: float | None, usual: httpx.Timeout) -> httpx.Timeout:
    """How long a call may take that has a patience of its own, or the usual time."""
    return usual if patience_s is None else httpx.Timeout(patience_s, connect=CONNECT_S)


def connection_error(url: str, error: httpx.RequestError) -> ConnectionFailed:
    """Our name for a failure of the connection."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ConnectionFailed(f"No pod answers at {url}; start one with `ourvidz-worker up`.")
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailed(f"The pod at {url} did not answer in time.")
    return ConnectionFailed(f"The connection to the pod at {url} broke.")


def choose_id(job: Mapping[str, Any]) -> str:
    """The job's own id, or a new one, so that handing it in twice makes one job.

    Raises `Rejected` for an id that no pod takes, because it would be part of an address.
    """
    named = next((str(job[name]) for name in ID_NAMES if job.get(name)), None)
    if named is None:
        return str(uuid.uuid4())
    if not is_id(named):
        sentence = f"The id must be {ID_RULE}."
        raise Rejected(problem=Problem(code="INVALID_REQUEST", error=sentence, field="id"))
    return named
