"""What the emulator holds: its keys, its objects, its faults and its records."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from threading import Condition
from typing import Literal

import msgspec
from starlette.requests import Request

from ourvidz_worker.clock import Clock
from ourvidz_worker.testing.supabase.database import Database
from ourvidz_worker.testing.supabase.faults import Call, Faults

Role = Literal["service", "anon"]
Revision = Literal["C1", "C2"]
"""The application's client of 2025, and that of 2026."""
TEMPORARY = frozenset({"image/png", "image/jpeg", "image/webp", "video/mp4"})


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """One bucket; None takes every media type."""

    public: bool = False
    media_types: frozenset[str] | None = None


BUCKETS = {
    "workspace-temp": Bucket(media_types=TEMPORARY),
    "user-library": Bucket(),
    "reference_images": Bucket(),
    "avatars": Bucket(public=True),
    "system_assets": Bucket(public=True),
}


class StoredObject(msgspec.Struct, frozen=True):
    """One object: its media type and its bytes."""

    media_type: str
    data: bytes


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The emulator's keys and the revision of the application that it plays."""

    service: str = "service-key-of-the-emulator"
    anon: str = "anon-key-of-the-emulator"
    """A key that is accepted but may read no row (K-20)."""
    callback_secret: str = "callback-secret-of-the-emulator"  # noqa: S105 - a test's own
    revision: Revision = "C2"


@dataclass(kw_only=True)
class State:
    """Everything that the endpoints share."""

    database: Database
    keys: Keys
    clock: Clock
    faults: Faults = field(default_factory=Faults)
    calls: list[Call] = field(default_factory=list)
    objects: dict[str, StoredObject] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    """What a real application would have suffered from, such as an asset without a file."""
    pods: dict[str, int] = field(default_factory=dict)
    """Status of the pods that the emulator itself plays at `/_pod/{name}/health`."""
    arrived: Condition = field(default_factory=Condition)
    signing: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def record(self, call: Call) -> None:
        """Add a call to those that came in."""
        with self.arrived:
            self.calls.append(call)
            self.arrived.notify_all()

    def calls_of(self, name: str) -> list[Call]:
        """The calls of that name, in the order they came in."""
        return [call for call in self.calls if call.name == name]

    def wait_for(self, name: str, number: int = 1, *, patience_s: float = 20.0) -> list[Call]:
        """Block until so many calls of that name have come in, and return them."""
        with self.arrived:
            came = self.arrived.wait_for(lambda: len(self.calls_of(name)) >= number, patience_s)
        assert came, f"{name} was not called {number} times"
        return self.calls_of(name)

    def role_of(self, request: Request) -> Role | None:
        """Who calls; both headers must name the same key."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token != request.headers.get("apikey", token):
            return None
        roles: dict[str, Role] = {self.keys.service: "service", self.keys.anon: "anon"}
        return roles.get(token)

    def sign(self, name: str, expires: float) -> str:
        """A token that reads the object `name` until `expires` (wall-clock seconds)."""
        body = f"{expires:.3f}"
        return f"{body}.{self._mac(name, body)}"

    def is_signed(self, name: str, token: str) -> bool:
        """True for a token of ours that has not expired."""
        body, _, mac = token.rpartition(".")
        genuine = hmac.compare_digest(mac.encode(), self._mac(name, body).encode())
        return genuine and float(body) > self.clock.now()

    def _mac(self, name: str, body: str) -> str:
        return hmac.new(self.signing, f"{name}\n{body}".encode(), hashlib.sha256).hexdigest()
