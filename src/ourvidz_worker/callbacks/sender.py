"""Sending one callback once: one POST, no redirects, no proxy, at most 30 seconds (7.1)."""

import httpx

from ourvidz_worker.callbacks.outbox import OwedCallback
from ourvidz_worker.callbacks.signing import Signer
from ourvidz_worker.callbacks.verdict import Retry, Verdict, judge_reply
from ourvidz_worker.clock import Clock, within
from ourvidz_worker.domain.errors import ConfigError

TIMEOUT_S = 30.0
MAX_REPLY_BYTES = 65_536
"""Of an answer only its first part is read; the client's have a few hundred bytes."""


class CallbackSender:
    """Posts callbacks to the one address that the operator configured."""

    def __init__(
        self,
        url: str,
        signer: Signer,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Without `transport` the library's own is used. Raises `ConfigError` for a wrong URL."""
        self._url = _checked(url)
        self._signer = signer
        self._clock = clock
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=TIMEOUT_S,
            transport=transport,
            headers={"User-Agent": "ourvidz-worker"},
        )

    async def send(self, row: OwedCallback) -> Verdict:
        """Try once and say what it came to; a network fault is a verdict, not an error."""
        try:
            return await within(self._clock, TIMEOUT_S, self._post(row))
        except TimeoutError:
            return Retry(error="no answer in time")
        except httpx.HTTPError as error:
            return Retry(error=type(error).__name__)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _post(self, row: OwedCallback) -> Verdict:
        now = self._clock.now()
        headers = self._signer.headers(row.body, job_id=row.job_id, status=row.status, at=now)
        request = self._client.build_request("POST", self._url, content=row.body, headers=headers)
        response = await self._client.send(request, stream=True)
        try:
            reply = await _beginning(response)
        finally:
            await response.aclose()
        return judge_reply(response.status_code, response.headers, reply, now=now)


def _checked(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
        url.host.encode("idna")  # a name that no resolver takes would fail at every try
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigError("the callback URL cannot be read", field="CALLBACK_URL") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigError("the callback URL must be http or https", field="CALLBACK_URL")
    return url


async def _beginning(response: httpx.Response) -> bytes:
    reply = bytearray()
    async for piece in response.aiter_bytes():
        reply += piece
        if len(reply) >= MAX_REPLY_BYTES:
            break
    return bytes(reply[:MAX_REPLY_BYTES])
