"""The application's services, asked all at once: its lists and its Supabase."""

import asyncio
from collections.abc import Coroutine

from ourvidz_worker.cli.finding import Finding
from ourvidz_worker.cli.redis_checks import check_redis
from ourvidz_worker.cli.signature_check import check_signature
from ourvidz_worker.cli.supabase_checks import check_supabase
from ourvidz_worker.cli.upstash_checks import check_upstash
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.config import Config
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.wiring.telling import signer_of, target_of

TIMEOUT_S = 5.0
"""As long as the application's own functions wait for a worker's `/health`."""


def check_services(
    config: Config, timeout_s: float = TIMEOUT_S, *, signature: bool = False
) -> list[Finding]:
    """Every service that is configured, asked at the same time, at most `timeout_s` each.

    With `signature` the receiver of callbacks is sent one that names no job.
    """
    asked = _asked(config, timeout_s)
    return asyncio.run(_ask_all([*asked, *(_signed(config, timeout_s) if signature else [])]))


async def _ask_all(asked: list[Coroutine[None, None, list[Finding]]]) -> list[Finding]:
    answers = await asyncio.gather(*asked)
    return [finding for found in answers for finding in found]


def _asked(config: Config, timeout_s: float) -> list[Coroutine[None, None, list[Finding]]]:
    asked = []
    if config.redis_url:
        asked.append(check_redis(config.redis_url, timeout_s))
    elif config.upstash_redis_rest_url and config.upstash_redis_rest_token:
        address, token = config.upstash_redis_rest_url, config.upstash_redis_rest_token
        asked.append(check_upstash(address, token, timeout_s))
    if config.supabase_url and config.supabase_service_role_key:
        asked.append(
            check_supabase(
                config.supabase_url,
                config.supabase_service_role_key,
                timeout_s,
                callbacks=not config.callback_url,
                registers=config.register_worker or config.register_chat_worker,
            )
        )
    return asked


def _signed(config: Config, timeout_s: float) -> list[Coroutine[None, None, list[Finding]]]:
    """The question to whoever takes callbacks, with the keys that callbacks carry there."""
    address = target_of(config)
    try:
        signer = signer_of(config)
    except ConfigError:  # The settings' own check tells of it.
        return []
    return [check_signature(address, signer, SystemClock(), timeout_s)] if address else []
