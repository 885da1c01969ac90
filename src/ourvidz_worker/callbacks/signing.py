"""What makes a callback believable: the headers of contract 7.1, and Standard Webhooks beside them.

Every header is computed over the exact bytes that are sent, anew for each try.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence

from ourvidz_worker.domain.errors import ConfigError

WEBHOOK_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
"""Length of a Standard Webhooks secret."""


class Signer:
    """Holds the keys and makes the headers; its repr shows none of them."""

    def __init__(
        self,
        *,
        callback_secret: str = "",
        service_key: str = "",
        webhook_secrets: Sequence[bytes] = (),
    ) -> None:
        """An empty key leaves its headers out; two webhook secrets sign while one is replaced."""
        self._callback_secret = callback_secret.encode()
        self._service_key = service_key
        self._webhook_secrets = tuple(webhook_secrets)

    def headers(self, body: bytes, *, job_id: str, status: str, at: float) -> dict[str, str]:
        """The headers of one try at `at`, wall-clock seconds."""
        made = {
            "Content-Type": "application/json",
            "Idempotency-Key": f"{job_id}:{status}",
        }
        if self._service_key:
            made["Authorization"] = f"Bearer {self._service_key}"
            made["apikey"] = self._service_key
        if self._callback_secret:
            digest = hmac.new(self._callback_secret, body, hashlib.sha256).hexdigest()
            made["X-Callback-Signature"] = f"sha256={digest}"
        if self._webhook_secrets:
            made |= self._webhook_headers(body, webhook_id(job_id, status), str(int(at)))
        return made

    def _webhook_headers(self, body: bytes, name: str, timestamp: str) -> dict[str, str]:
        signed = f"{name}.{timestamp}.".encode() + body
        digests = (hmac.new(key, signed, hashlib.sha256) for key in self._webhook_secrets)
        signatures = (f"v1,{b64encode(digest.digest()).decode()}" for digest in digests)
        return {
            "webhook-id": name,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(signatures),
        }


def webhook_id(job_id: str, status: str) -> str:
    """Equal on every try, and without a dot, which a job id may have."""
    return hashlib.sha256(f"{job_id}:{status}".encode()).hexdigest()


def read_webhook_secret(text: str) -> bytes:
    """The key in `whsec_BASE64`. Raises `ConfigError` without showing it."""
    try:
        key = b64decode(text.removeprefix(WEBHOOK_PREFIX), validate=True)
    except (Base64Error, ValueError) as error:
        raise ConfigError("the webhook secret must be whsec_ and base64") from error
    if len(key) not in SECRET_BYTES:
        raise ConfigError("the webhook secret must have 24 to 64 bytes")
    return key
