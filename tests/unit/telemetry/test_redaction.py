"""No key, no signed address and no prompt ever reaches a log line (O-8, H-4)."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from ourvidz_worker.telemetry.log import Action, start_logging
from ourvidz_worker.telemetry.redaction import HIDDEN, Redaction, prompt_fields, user_digest

SIGNED = "https://x.supabase.co/storage/v1/object/sign/user-library/u/a.png?token=eyJhbGci.eyJ1.s-g"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.abc-DEF_123"
OWN = "sk-own-secret-of-this-pod"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    logger = logging.getLogger("ourvidz_worker")
    before = logger.handlers[:], logger.level, logger.propagate
    found = io.StringIO()
    start_logging(stream=found, secrets=[OWN, ""])
    yield found
    logger.handlers[:], logger.level, logger.propagate = before


def line_of(stream: io.StringIO) -> dict[str, object]:
    found: dict[str, object] = json.loads(stream.getvalue())
    return found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SIGNED, f"https://x.supabase.co/storage/v1/object/sign/user-library/u/a.png?{HIDDEN}"),
        (f"GET {SIGNED} failed", "a.png?"),
        (f"key {JWT}.", f"key {HIDDEN}."),
        ("Authorization: Bearer abc.def", "Authorization: Bearer"),
        ("AUTHORIZATION: bEARER abc.def", "AUTHORIZATION: bEARER"),
        ("clé, Authorization: Bearer abc.def", "clé, Authorization: Bearer"),
        ("the \u017fecret=k-1234567", "the \u017fecret="),
        ("hf_" + "MfKQ" * 4, HIDDEN),
        ("authorization=Basic dXNlcjpwdw==", "Basic"),
        ('{"apikey": "k-1234567"}', '"apikey": "'),
        ("redis://user:pa55word@host:6379/0", f"redis://{HIDDEN}@host:6379/0"),
        ("X-Callback-Signature: sha256=00ff", "X-Callback-Signature: "),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", HIDDEN),
        (f"the key is {OWN}!", f"the key is {HIDDEN}!"),
        ("a plain line, 3 tokens", "a plain line, 3 tokens"),
    ],
)
def test_keys_and_signed_addresses_are_taken_out(text: str, said: str) -> None:
    """O-8: by their form, or because they are the pod's own."""
    found = Redaction([OWN]).clean(text)
    assert said in found
    for secret in ("eyJ", "abc.def", "dXNl", "k-1234567", "pa55word", "00ff", "MfKQ", OWN):
        assert secret not in found


def test_a_record_is_clean_in_message_fields_and_exception(stream: io.StringIO) -> None:
    """O-8: one filter sees everything."""
    log = logging.getLogger("ourvidz_worker.test")
    headers = {
        "Authorization": f"Bearer {OWN}",
        "apikey": "k-1234567",
        "Accept": "application/json",
    }
    try:
        raise httpx.ConnectError(f"cannot reach {SIGNED}")
    except httpx.ConnectError:
        log.exception(
            "cannot reach %s",
            SIGNED,
            extra={
                "action": Action.REQUEST_FAILED,
                "url": SIGNED,
                "headers": headers,
                "tries": 3,
                "tokens": 7,
                "max_tokens": 512,
                "list": [SIGNED, 1, None],
                "raw": JWT.encode(),
                "object": httpx.URL(SIGNED),
            },
        )
    text = stream.getvalue()
    for secret in ("eyJ", "k-1234567", OWN):
        assert secret not in text
    line = line_of(stream)
    assert (line["tries"], line["tokens"], line["max_tokens"]) == (3, 7, 512)
    assert line["headers"] == {
        "Authorization": HIDDEN,
        "apikey": HIDDEN,
        "Accept": "application/json",
    }
    assert line["action"] == "request_failed"
    assert "Traceback" in str(line["exception"])


def test_a_prompt_is_told_by_length_and_digest() -> None:
    """O-8: `LOG_PROMPTS` alone lets the text in."""
    fields = prompt_fields("a red fox")
    assert fields["prompt_chars"] == 9
    assert len(str(fields["prompt_sha256"])) == 64
    assert "fox" not in str(fields)
    assert prompt_fields("a red fox", whole=True)["prompt"] == "a red fox"


def test_a_user_is_told_by_digest() -> None:
    """O-8: user ids hashed."""
    assert user_digest("u1") != user_digest("u2")
    assert "u1" not in user_digest("u1")


def test_what_libraries_warn_of_goes_the_same_way() -> None:
    """O-8: JSON lines without keys, whoever writes them; once, and no chatter."""
    code = (
        "import logging; from ourvidz_worker.telemetry.log import start_logging; start_logging();"
        "logging.getLogger('uvicorn.error').error('GET https://x/y?token=abc');"
        "logging.getLogger('httpx').info('chatter');"
        "logging.getLogger('ourvidz_worker.x').info('own')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["event"] for line in lines] == [f"GET https://x/y?{HIDDEN}", "own"]
