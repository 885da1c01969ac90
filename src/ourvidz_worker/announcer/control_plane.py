"""The application's functions that register workers, called as contract 8 says."""

import logging
from collections.abc import Mapping

import httpx

from ourvidz_worker.announcer import AnnouncerSettings
from ourvidz_worker.announcer.base import Side
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import Unavailable
from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.supabase.client import Ask, Reply, SupabaseClient
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

PATIENCE_S = 15.0
"""Of each call (contract 8)."""

OK = 200
FUNCTIONS = "/functions/v1"
STORED_AS: Mapping[Side, str] = {"wan": "workerUrl", "chat": "chatWorkerUrl"}

CAPABILITIES = {
    "chat": True,
    "enhancement": True,
    "generation": True,
    "pure_inference": True,
    "hardcoded_prompts": False,
    "prompt_modification": False,
}
"""What `/worker/info` tells as `capability_details`."""


class ControlPlane:
    """One call each; whatever goes wrong is logged and told as a plain no."""

    def __init__(
        self,
        settings: AnnouncerSettings,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is asked yet. Raises `ConfigError` for a wrong URL."""
        self._client = SupabaseClient(settings.url, settings.key, clock, transport=transport)
        self._addresses = settings.addresses
        self._clock = clock

    async def register(self, side: Side) -> bool:
        """Register one side. True only if the application could reach it (G-2)."""
        reply = await (self._register_wan() if side == "wan" else self._register_chat())
        if reply is None:
            return False
        told = reply.json() if reply.status == OK else None
        told = told if isinstance(told, dict) else {}
        if side == "chat":
            return self._judge(side, reply, told.get("healthStatus") == "healthy")
        return self._judge(side, reply, told.get("success") is True)

    async def seen(self) -> Mapping[Side, object] | None:
        """What the application has stored of each side; None when nobody could say."""
        params = {"select": "config", "id": "eq.1"}
        reply = await self._send("GET", "/rest/v1/system_config", params=params)
        rows = reply.json() if reply is not None and reply.status == OK else None
        match rows:
            case [{"config": dict(config)}]:
                return {side: config.get(name) for side, name in STORED_AS.items()}
        _note("registration not read back", "status", reply)
        return None

    async def refresh(self) -> None:
        """Have the application look at both sides now, and store how they are (G-4)."""
        reply = await self._send("POST", f"{FUNCTIONS}/health-check-workers", json={})
        if reply is not None and reply.status != OK:
            _note("health not refreshed", "status", reply)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _register_wan(self) -> Reply | None:
        body = {
            "worker_url": self._addresses.wan,
            "auto_registered": True,
            "registration_method": "wan_worker_self_registration",
            "detection_method": self._addresses.detected_by,
            "timestamp": rfc3339(self._clock.now()),
        }
        return await self._send("POST", f"{FUNCTIONS}/update-worker-url", json=body)

    async def _register_chat(self) -> Reply | None:
        body = {
            "worker_url": self._addresses.chat,
            "auto_registered": True,
            "registration_method": "pure_inference_chat_worker",
            "worker_type": "pure_inference_engine",
            "capabilities": CAPABILITIES,
            "timestamp": rfc3339(self._clock.now()),
        }
        return await self._send("POST", f"{FUNCTIONS}/register-chat-worker", json=body)

    def _judge(self, side: Side, reply: Reply, accepted: bool) -> bool:
        if not accepted:
            _note("registration not accepted", side, reply)
        return accepted

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: object | None = None,
    ) -> Reply | None:
        ask = Ask(method=method, path=path, within_s=PATIENCE_S, params=params or {}, json=json)
        try:
            return await self._client.send(ask)
        except Unavailable as error:
            log.warning(
                "application not reached",
                extra={"action": Action.REGISTRATION_FAILED, "cause": error.facts.get("cause")},
            )
            return None


def _note(event: str, side: str, reply: Reply | None) -> None:
    status = None if reply is None else reply.status
    log.warning(event, extra={"action": Action.REGISTRATION_FAILED, "side": side, "status": status})
