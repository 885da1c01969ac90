"""The lists over Upstash REST (contract Q-2)."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec

from ourvidz_worker.domain.errors import ConfigError, QueueUnavailable, RequestError
from ourvidz_worker.queue.scripts import Script
from ourvidz_worker.queue.wire import REQUEST_TIMEOUT_S

ENCODING = "base64"
"""Without it the service replaces all bytes that are no UTF-8."""

UNAUTHORIZED = (401, 403)


class UpstashWire:
    """One command a request, as a JSON array; an error in a reply is never an empty reply."""

    can_block = False

    def __init__(self, url: str, token: str) -> None:
        """Remember the address and its token."""
        self._url = url.rstrip("/")
        self._token = token
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> Mapping[str, str]:
        """Ask the server for itself; raises `ConfigError` for an address or token that is wrong."""
        if not self._url.startswith(("https://", "http://")):
            raise ConfigError(
                "UPSTASH_REDIS_REST_URL must begin with https://", field="upstash_redis_rest_url"
            )
        headers = {"Authorization": f"Bearer {self._token}", "Upstash-Encoding": ENCODING}
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=REQUEST_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
            verify=self._url.startswith("https://"),  # plain addresses need no certificates read
        )
        try:
            told = await self._command([b"INFO"])
        except _Refused as refused:
            told = None
            if refused.status in UNAUTHORIZED:
                await self.close()
                raise ConfigError(
                    "UPSTASH_REDIS_REST_TOKEN is refused", field="upstash_redis_rest_token"
                ) from refused
        except QueueUnavailable:
            await self.close()
            raise
        lines = told.decode(errors="replace").splitlines() if isinstance(told, bytes) else []
        pairs = (line.partition(":") for line in lines if ":" in line)
        return {key: value for key, _, value in pairs}

    async def close(self) -> None:
        """End every connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def evaluate(self, script: Script, arguments: Sequence[bytes]) -> Any:  # noqa: ANN401
        """Run a script that the server may have to be taught first."""
        try:
            try:
                return await self._command([b"EVALSHA", script.sha.encode(), b"0", *arguments])
            except _Refused as refused:
                if not refused.message.startswith("NOSCRIPT"):
                    raise
                return await self._command([b"EVAL", script.source.encode(), b"0", *arguments])
        except _Refused as refused:
            raise QueueUnavailable(cause=str(refused)) from refused

    async def wait_for(self, listed: str, seconds: int) -> bytes | None:
        """There are no blocking commands here."""
        raise QueueUnavailable(cause=f"cannot wait {seconds} s for {listed}")

    async def _command(self, command: Sequence[bytes]) -> Any:  # noqa: ANN401
        if self._client is None:
            raise QueueUnavailable
        try:
            body = msgspec.json.encode([argument.decode() for argument in command])
        except UnicodeDecodeError as error:
            raise RequestError("The job is not UTF-8.") from error
        try:
            reply = await self._client.post(
                self._url, content=body, headers={"Content-Type": "application/json"}
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise QueueUnavailable(cause=type(error).__name__) from error
        return _result(reply)


class _Refused(Exception):
    """The server answered, and its answer is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status
        self.message = message


def _result(reply: httpx.Response) -> Any:  # noqa: ANN401
    """The result in a reply, in bytes; an error in it raises whatever the status says."""
    try:
        told = msgspec.json.decode(reply.content)
    except msgspec.DecodeError:
        told = None
    if not isinstance(told, dict) or ("result" not in told and "error" not in told):
        raise QueueUnavailable(cause=f"HTTP {reply.status_code} without a result")
    if "error" in told or reply.status_code != httpx.codes.OK:
        raise _Refused(reply.status_code, str(told.get("error", "")))
    try:
        return _plain(told["result"])
    except binascii.Error as error:
        raise QueueUnavailable(cause="a result that is not base64") from error


def _plain(value: object) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        # A status reply is the one text that the service leaves as it is.
        return b"OK" if value == "OK" else base64.b64decode(value, validate=True)
    return value
