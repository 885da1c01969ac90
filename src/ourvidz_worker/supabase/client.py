"""Calls to the application's Supabase: one host, one key, no proxy, no redirect, a total deadline.

Nothing of a key, an address or a body gets into an error or a log from here.
"""

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field

import httpx
import msgspec

from ourvidz_worker.clock import Clock, within
from ourvidz_worker.domain.errors import ConfigError, Unavailable

MAX_REPLY_BYTES = 1_048_576
"""Of an answer no more is read unless the caller says so; rows have a few kilobytes."""

BAD_REQUEST = 400
TRY_AGAIN = frozenset({408, 425, 429}) | frozenset(range(500, 600))
"""Statuses that may pass by themselves."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One call: `path` begins with a slash and is quoted, `within_s` covers all of it."""

    method: str
    path: str
    within_s: float
    params: Mapping[str, str] = field(default_factory=dict)
    json: object | None = None
    content: AsyncIterable[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int = MAX_REPLY_BYTES


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered; `whole` is False where the body was cut at `max_bytes`."""

    status: int
    body: bytes
    whole: bool = True

    @property
    def is_success(self) -> bool:
        """True for 2xx."""
        return httpx.codes.is_success(self.status)

    @property
    def true_status(self) -> int:
        """The storage wraps a refusal's own status into a 400; this is the one that counts."""
        if self.status != BAD_REQUEST:
            return self.status
        told = self.json()
        inner = told.get("statusCode") if isinstance(told, dict) else None
        text = str(inner)
        return int(text) if text.isdecimal() and text.isascii() else self.status

    def json(self) -> object:
        """The body as JSON; None where it is none."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


class SupabaseClient:
    """The only holder of the service key beside the callbacks; its repr shows nothing."""

    def __init__(
        self,
        url: str,
        key: str,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Without `transport` the library's own is used. Raises `ConfigError` for a wrong URL."""
        self._clock = clock
        self._client = httpx.AsyncClient(
            base_url=_checked(url),
            trust_env=False,
            follow_redirects=False,
            transport=transport,
            headers={
                "Authorization": f"Bearer {key}",
                "apikey": key,
                "User-Agent": "ourvidz-worker",
                "Accept-Encoding": "identity",
            },
        )

    async def send(self, ask: Ask) -> Reply:
        """Ask once. Raises `Unavailable` when there is no answer, or none in time."""
        try:
            return await within(self._clock, ask.within_s, self._send(ask))
        except TimeoutError as error:
            raise Unavailable(cause="no answer in time") from error
        except httpx.HTTPError as error:
            raise Unavailable(cause=type(error).__name__) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _send(self, ask: Ask) -> Reply:
        request = self._client.build_request(
            ask.method,
            ask.path,
            params=ask.params or None,
            json=ask.json,
            content=ask.content,
            headers=ask.headers,
            timeout=ask.within_s,
        )
        response = await self._client.send(request, stream=True)
        try:
            return await _read(response, ask.max_bytes)
        finally:
            await response.aclose()


async def _read(response: httpx.Response, max_bytes: int) -> Reply:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > max_bytes:
            return Reply(status=response.status_code, body=bytes(body[:max_bytes]), whole=False)
    return Reply(status=response.status_code, body=bytes(body))


def _checked(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text.rstrip("/"))
        url.host.encode("idna")  # a name that no resolver takes would fail at every try
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigError("SUPABASE_URL cannot be read", field="SUPABASE_URL") from error
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo or url.query:
        raise ConfigError("SUPABASE_URL must be http or https", field="SUPABASE_URL")
    return url
