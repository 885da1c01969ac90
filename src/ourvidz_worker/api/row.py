"""One row of the route table: an address, a method, who may call it, what goes in and out."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp

from ourvidz_worker.api.auth import Access
from ourvidz_worker.api.call import Call
from ourvidz_worker.domain.errors import OurvidzError

Handle = Callable[[Call], Awaitable[ASGIApp]]
"""A route: takes a call, returns the reply. Its docstring is its description."""

Content = type | str
"""A type means JSON of it; a string is a media type of bytes or events."""


@dataclass(frozen=True)
class Row:
    """One route. `bodies` are the forms a body may have; `problems` are those beside the usual."""

    method: str
    path: str
    handle: Handle
    access: Access
    replies: Mapping[int, tuple[Content, ...]] = field(kw_only=True)
    bodies: tuple[Content, ...] = field(default=(), kw_only=True)
    query: Any = field(default=None, kw_only=True)
    problems: tuple[type[OurvidzError], ...] = field(default=(), kw_only=True)
    body_optional: bool = field(default=False, kw_only=True)
    streams: bool = field(default=False, kw_only=True)
    """True when the reply may go on for ever; there is no HEAD of such a reply."""
