"""Keys and modes: who may enter where."""

import pytest
from starlette.datastructures import Headers

from ourvidz_worker.api.auth import (
    Access,
    AuthMode,
    Credential,
    Keys,
    check_access,
    may_enter,
)
from ourvidz_worker.domain.errors import Unauthorized

KEYS = Keys.of("wan-key", "", "schlüssel")
HEALTH, PUBLIC, INFERENCE = Access.HEALTH, Access.PUBLIC, Access.INFERENCE


@pytest.mark.parametrize(
    ("mode", "credential", "open_to"),
    [
        ("compat", Credential.MISSING, {HEALTH, PUBLIC, INFERENCE}),
        ("compat", Credential.WRONG, set()),
        ("compat", Credential.VALID, set(Access)),
        ("required", Credential.MISSING, {HEALTH}),
        ("required", Credential.WRONG, {HEALTH}),
        ("required", Credential.VALID, set(Access)),
        ("open", Credential.MISSING, {HEALTH, PUBLIC, INFERENCE}),
        ("open", Credential.WRONG, {INFERENCE}),
        ("open", Credential.VALID, set(Access)),
    ],
)
def test_modes(mode: AuthMode, credential: Credential, open_to: set[Access]) -> None:
    assert {access for access in Access if may_enter(mode, access, credential)} == open_to


@pytest.mark.parametrize(
    ("header", "credential"),
    [
        (None, Credential.MISSING),
        ("Bearer wan-key", Credential.VALID),
        ("bearer wan-key", Credential.VALID),
        ("BEARER  wan-key ", Credential.VALID),
        ("Bearer wan-kex", Credential.WRONG),
        ("Bearer", Credential.WRONG),
        ("Bearer ", Credential.WRONG),
        ("", Credential.WRONG),
        ("wan-key", Credential.WRONG),
        ("Basic wan-key", Credential.WRONG),
        ("Bearer wan-key, Bearer wan-key", Credential.WRONG),
    ],
)
def test_headers(header: str | None, credential: Credential) -> None:
    headers = Headers({} if header is None else {"Authorization": header})
    assert KEYS.judge(headers) is credential


def test_two_headers_are_one_too_many() -> None:
    pair = (b"authorization", b"Bearer wan-key")
    assert KEYS.judge(Headers(raw=[pair, pair])) is Credential.WRONG


def test_a_key_beyond_ascii_is_compared_as_bytes() -> None:
    raw = [(b"authorization", "Bearer schlüssel".encode())]
    assert KEYS.judge(Headers(raw=raw)) is Credential.VALID


def test_a_key_that_is_not_set_fits_nothing() -> None:
    assert len(KEYS.digests) == 2
    assert not KEYS.hold(b"")
    assert Keys.of("", "").judge(Headers({"Authorization": "Bearer "})) is Credential.WRONG


def test_keys_are_kept_as_digests_alone() -> None:
    assert b"wan-key" not in b"".join(KEYS.digests)
    assert all(len(digest) == 32 for digest in KEYS.digests)


def test_who_may_not_enter_is_told_so() -> None:
    check_access("compat", Access.PUBLIC, Credential.MISSING)
    with pytest.raises(Unauthorized):
        check_access("compat", Access.KEY, Credential.MISSING)
