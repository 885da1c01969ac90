"""Where the two sides of this pod are reached from outside (contract H-1, G-1)."""

from typing import Literal

import msgspec

from ourvidz_worker.domain.errors import ConfigError


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Public addresses without a trailing slash; an empty one is not announced."""

    wan: str = ""
    chat: str = ""
    detected_by: Literal["RUNPOD_POD_ID", "WORKER_PUBLIC_URL"] = "RUNPOD_POD_ID"
    """How the first was found, in the application's words."""


def public_addresses(
    *, pod_id: str = "", wan_port: int = 7860, chat_port: int = 7861, wan: str = "", chat: str = ""
) -> Addresses:
    """The addresses given, else those of the cloud's proxy by the pod's id; nothing is guessed.

    Raises `ConfigError` for an address that is not http or https.
    """
    return Addresses(
        wan=_address(wan, "WORKER_PUBLIC_URL") or _proxied(pod_id, wan_port),
        chat=_address(chat, "CHAT_WORKER_PUBLIC_URL") or _proxied(pod_id, chat_port),
        detected_by="WORKER_PUBLIC_URL" if wan else "RUNPOD_POD_ID",
    )


def _address(text: str, variable: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise ConfigError(f"{variable} must be http or https", field=variable)
    return text.rstrip("/")


def _proxied(pod_id: str, port: int) -> str:
    return f"https://{pod_id}-{port}.proxy.runpod.net" if pod_id else ""
