"""One HTTP request as the routes see it, and the site it came to."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ourvidz_worker.api.auth import Access, AuthMode, Credential, Keys, check_access
from ourvidz_worker.api.limits import RateLimit
from ourvidz_worker.api.ports import DeadDesk, JobDesk, MemoryDesk, PodView, TextDesk
from ourvidz_worker.clock import Clock

Side = Literal["wan", "chat"]
"""Which of the two ports; it decides `worker_type` and the defaults (H-2)."""


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set about the interface."""

    version: str
    auth_mode: AuthMode = "compat"
    max_output_tokens: int = 4096
    max_reference_bytes: int = 52_428_800
    requests_per_minute: int = 60
    concurrent_requests: int = 8
    log_prompts: bool = False
    """Log texts in full instead of their lengths and digests (O-8)."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """What every route may use; one for each port, built once by `make_app`."""

    side: Side
    jobs: JobDesk
    texts: TextDesk
    memory: MemoryDesk
    dead: DeadDesk
    pod: PodView
    keys: Keys
    limit: RateLimit
    clock: Clock
    settings: ApiSettings
    endpoints: tuple[str, ...]
    document: bytes
    """The OpenAPI document, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request; `request_id` is ours, drawn anew for each."""

    site: Site
    request: Request
    request_id: str
    credential: Credential

    @property
    def is_limited(self) -> bool:
        """True when the caller showed no valid key (A-6)."""
        return self.credential is not Credential.VALID

    def place(self) -> AbstractContextManager[None]:
        """One of the few places that callers without a key share (A-6). Raises `RateLimited`."""
        if not self.is_limited:
            return nullcontext()
        client = self.request.client
        return self.site.limit.place(client.host if client else "")

    def name(self, parameter: str) -> str:
        """A part of the path."""
        found: str = self.request.path_params[parameter]
        return found

    def need_key(self) -> None:
        """Raise `Unauthorized` unless the caller showed a valid key."""
        check_access(self.site.settings.auth_mode, Access.KEY, self.credential)

    def reply(
        self,
        body: msgspec.Struct | Mapping[str, object],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """`body` as JSON, with the request's id in it (H-6)."""
        return Response(self.encode(body), status, headers, "application/json")

    def encode(self, body: msgspec.Struct | Mapping[str, object]) -> bytes:
        """`body` as JSON with the request's id in it."""
        members: dict[str, object] = msgspec.to_builtins(body)
        return msgspec.json.encode(members | {"request_id": self.request_id})
