"""Announcing: which of a pod's sides the application is told of, and where they are."""

import asyncio
import random
from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from ourvidz_worker.announcer import (
    Addresses,
    Announcer,
    AnnouncerSettings,
    PodView,
    make_announcer,
    public_addresses,
)
from ourvidz_worker.clock import Clock
from ourvidz_worker.config import Config
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.pod.health import Health


@dataclass(frozen=True, kw_only=True)
class Announcing:
    """The announcer, and the addresses that it tells."""

    announcer: Announcer
    addresses: Addresses

    async def run(self) -> None:
        """Announce, then rest: an announcer ends where there is nothing to tell."""
        await self.announcer.run()
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Close every connection."""
        await self.announcer.close()


def announcing_of(
    config: Config, lanes: Collection[Lane], health: Health, clock: Clock
) -> Announcing:
    """An announcer where there is an application and an address to tell it."""
    addresses = _addresses_of(config, lanes)
    told = bool(config.supabase_url and (addresses.wan or addresses.chat))
    settings = AnnouncerSettings(
        url=config.supabase_url,
        key=config.supabase_service_role_key,
        addresses=addresses,
        refresh=config.control_plane_health_refresh,
    )
    pod = PodView(ready=lambda side: health.health(side).ready, draining=lambda: health.draining)
    name = "supabase" if told else "none"
    return Announcing(
        announcer=make_announcer(name, settings, pod, clock, random.random),
        addresses=addresses if told else Addresses(),
    )


def _addresses_of(config: Config, lanes: Collection[Lane]) -> Addresses:
    """The public addresses, less those of sides that are switched off or that serve no lane."""
    addresses = public_addresses(
        pod_id=config.runpod_pod_id,
        wan_port=config.worker_port,
        chat_port=config.chat_worker_port,
        wan=config.worker_public_url,
        chat=config.chat_worker_public_url,
    )
    serves_media = not {Lane.IMAGE, Lane.VIDEO}.isdisjoint(lanes)
    return msgspec.structs.replace(
        addresses,
        wan=addresses.wan if config.register_worker and serves_media else "",
        chat=addresses.chat if config.register_chat_worker and Lane.CHAT in lanes else "",
    )
