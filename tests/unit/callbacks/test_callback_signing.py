"""Signatures, checked against an HMAC written out by hand from RFC 2104 (contract 7.1)."""

import hashlib
from base64 import b64decode, b64encode

import pytest

from ourvidz_worker.callbacks import Signer, read_webhook_secret
from ourvidz_worker.callbacks.signing import webhook_id
from ourvidz_worker.domain.errors import ConfigError

BODY = '{"job_id":"j.1","prompt":"é"}'.encode()
KEY = bytes(range(24))


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + message).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).digest()


def headers(signer: Signer, body: bytes = BODY, at: float = 1_700_000_000.9) -> dict[str, str]:
    return signer.headers(body, job_id="j.1", status="completed", at=at)


def test_without_keys_only_the_plain_headers_are_sent() -> None:
    assert headers(Signer()) == {
        "Content-Type": "application/json",
        "Idempotency-Key": "j.1:completed",
    }


def test_the_service_key_is_sent_twice() -> None:
    made = headers(Signer(service_key="k"))
    assert (made["Authorization"], made["apikey"]) == ("Bearer k", "k")


def test_the_vector_of_rfc_4231() -> None:
    signer = Signer(callback_secret="Jefe")
    made = headers(signer, b"what do ya want for nothing?")
    assert made["X-Callback-Signature"] == (
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@pytest.mark.parametrize("secret", ["s", "sécret", "x" * 100])
def test_the_exact_bytes_are_signed(secret: str) -> None:
    made = headers(Signer(callback_secret=secret))
    digest = hmac_sha256(secret.encode(), BODY).hex()
    assert made["X-Callback-Signature"] == f"sha256={digest}"
    assert headers(Signer(callback_secret=secret), BODY + b" ") != made


def test_standard_webhooks_beside_it() -> None:
    made = headers(Signer(callback_secret="s", webhook_secrets=[KEY]))
    assert made["webhook-timestamp"] == "1700000000"
    assert made["webhook-id"] == webhook_id("j.1", "completed")
    signed = f"{made['webhook-id']}.1700000000.".encode() + BODY
    version, signature = made["webhook-signature"].split(",")
    assert version == "v1"
    assert b64decode(signature) == hmac_sha256(KEY, signed)
    assert "X-Callback-Signature" in made


def test_two_secrets_sign_while_one_is_replaced() -> None:
    both = headers(Signer(webhook_secrets=[KEY, KEY + KEY]))["webhook-signature"].split(" ")
    alone = [headers(Signer(webhook_secrets=[k]))["webhook-signature"] for k in (KEY, KEY + KEY)]
    assert both == alone


def test_a_webhooks_id_is_equal_on_every_try_and_has_no_dot() -> None:
    signer = Signer(webhook_secrets=[KEY])
    first, second = headers(signer, at=1.0), headers(signer, at=999.0)
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-signature"] != second["webhook-signature"]
    assert "." not in first["webhook-id"]
    assert webhook_id("j", "failed") != webhook_id("j", "completed")


def test_a_signer_shows_no_key() -> None:
    signer = Signer(callback_secret="hidden", service_key="hidden", webhook_secrets=[b"hidden"])
    assert "hidden" not in repr(signer)


def test_a_webhook_secret_is_read() -> None:
    text = b64encode(KEY).decode()
    assert read_webhook_secret(f"whsec_{text}") == read_webhook_secret(text) == KEY


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_###", "whsec_YQ==", "é", "A" * 200])
def test_a_wrong_webhook_secret_is_a_fault_of_the_configuration(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_webhook_secret(text)
    assert text not in caught.value.sentence or not text
