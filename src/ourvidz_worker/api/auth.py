"""Who may call what: keys, modes, and how much of a key each address asks for (contract 2.2)."""

import hashlib
import hmac
from enum import StrEnum
from typing import Literal, Self

import msgspec
from starlette.datastructures import Headers

from ourvidz_worker.domain.errors import Unauthorized

AuthMode = Literal["compat", "required", "open"]


class Access(StrEnum):
    """How an address treats keys."""

    HEALTH = "health"
    """Never needs one (A-3)."""
    PUBLIC = "public"
    """Takes a missing header, unless keys are required (A-2)."""
    INFERENCE = "inference"
    """As public; does not look at headers on a private network (A-1); limited without a key."""
    KEY = "key"
    """Needs one in every mode (A-4)."""


class Credential(StrEnum):
    """What a request's Authorization header is worth."""

    MISSING = "missing"
    WRONG = "wrong"
    VALID = "valid"


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys this pod accepts, kept as SHA-256 digests; none at all means that none fits."""

    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, *keys: str) -> Self:
        """Keep each key that is set."""
        return cls(digests=tuple(_digest(key.encode()) for key in keys if key))

    def hold(self, key: bytes) -> bool:
        """True when `key` is one of them; the time it takes does not depend on which (A-5)."""
        given = _digest(key)
        matches = [hmac.compare_digest(given, digest) for digest in self.digests]
        return any(matches)

    def judge(self, headers: Headers) -> Credential:
        """What the Authorization header of a request is worth."""
        values = headers.getlist("authorization")
        if not values:
            return Credential.MISSING
        scheme, _, key = values[0].strip().partition(" ")
        if len(values) > 1 or scheme.lower() != "bearer":
            return Credential.WRONG
        return Credential.VALID if self.hold(key.strip().encode("latin-1")) else Credential.WRONG


def check_access(mode: AuthMode, access: Access, credential: Credential) -> None:
    """Let the request pass, or raise `Unauthorized`."""
    if not may_enter(mode, access, credential):
        raise Unauthorized


def may_enter(mode: AuthMode, access: Access, credential: Credential) -> bool:
    """True when an address of this kind takes a request with this credential."""
    if credential is Credential.VALID:
        return True
    if access is Access.KEY:
        return False
    if mode == "required":
        return access is Access.HEALTH
    if mode == "open" and access is Access.INFERENCE:
        return True
    return credential is Credential.MISSING


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
