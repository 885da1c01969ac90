"""Announcers: they tell an application where this pod can be reached.

Choose one by name through `make_announcer`.
"""

from collections.abc import Callable
from importlib import import_module

import msgspec

from ourvidz_worker.announcer.addresses import Addresses, public_addresses
from ourvidz_worker.announcer.base import Announcer, PodView, Side
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import ConfigError


class AnnouncerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an announcer is given; `refresh` has the application look at our health (G-4)."""

    url: str = ""
    key: str = ""
    addresses: Addresses = Addresses()
    refresh: bool = True


#: Name to `module:class`; each class takes `(settings, pod, clock, jitter)`.
ANNOUNCERS = {
    "none": "ourvidz_worker.announcer.none:NoAnnouncer",
    "supabase": "ourvidz_worker.announcer.supabase:SupabaseAnnouncer",
}


def make_announcer(
    name: str,
    settings: AnnouncerSettings,
    pod: PodView,
    clock: Clock,
    jitter: Callable[[], float],
) -> Announcer:
    """Build the announcer `name`; `jitter` is 0..1. Raises `ConfigError` for an unknown name."""
    if name not in ANNOUNCERS:
        names = ", ".join(sorted(ANNOUNCERS))
        raise ConfigError(f"announcer must be one of {names}", field="announcer")
    module, _, attribute = ANNOUNCERS[name].partition(":")
    made = getattr(import_module(module), attribute)(settings, pod, clock, jitter)
    announcer: Announcer = made
    return announcer


__all__ = [
    "ANNOUNCERS",
    "Addresses",
    "Announcer",
    "AnnouncerSettings",
    "PodView",
    "Side",
    "make_announcer",
    "public_addresses",
]
