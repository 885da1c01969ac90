"""What settings say together: faults that stop a start, and what it should be warned of."""

import os
from collections.abc import Mapping

from ourvidz_worker.config.table import SETTINGS, Config, is_deployed, served_lanes


def warnings_of(config: Config, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """What a start should be warned of; nothing here stops it."""
    found = os.environ if environment is None else environment
    told = [
        f"{row.variable} and {alias} differ; {row.variable} is used"
        for row in SETTINGS
        for alias in row.aliases
        if found.get(row.variable) and found.get(alias, found[row.variable]) != found[row.variable]
    ]
    if not is_deployed(config):
        return tuple(told)
    if not config.job_callback_secret:
        told.append(
            "JOB_CALLBACK_SECRET is not set: callbacks are not signed, clients of 2026 refuse them"
        )
    keys = {config.wan_worker_api_key, config.chat_worker_api_key, config.sdxl_worker_api_key}
    if len(keys - {""}) == 1:
        told.append("only one worker key is set: callers that hold another one are refused")
    if config.auth_mode == "required":
        told.append("WORKER_AUTH_MODE is required: callers that send no key are refused")
    if config.redis_url and config.upstash_redis_rest_url:
        told.append("REDIS_URL and UPSTASH_REDIS_REST_URL are set: REDIS_URL is used")
    if not (config.runpod_pod_id or config.worker_public_url or config.chat_worker_public_url):
        told.append("no public address is known: the application is not told where this pod is")
    return tuple(told)


def _missing(config: Config) -> list[str]:
    """What the deployment profile requires and does not have."""
    required = {
        "SUPABASE_URL": config.supabase_url,
        "SUPABASE_SERVICE_ROLE_KEY": config.supabase_service_role_key,
        "WAN_WORKER_API_KEY": config.wan_worker_api_key,
        "REDIS_URL, or UPSTASH_REDIS_REST_URL": config.redis_url or config.upstash_redis_rest_url,
    }
    faults = [f"{name} is required when deployed" for name, value in required.items() if not value]
    if config.upstash_redis_rest_url and not (config.upstash_redis_rest_token or config.redis_url):
        faults.append("UPSTASH_REDIS_REST_TOKEN is required with UPSTASH_REDIS_REST_URL")
    return faults


def contradictions(config: Config) -> list[str]:
    """The faults of settings that are each well formed, in words."""
    faults = _missing(config) if is_deployed(config) else []
    if not set(served_lanes(config)) or len(served_lanes(config)) != len(config.lanes.split(",")):
        faults.append("OURVIDZ_LANES must name lanes among image, chat and video, each once")
    if config.worker_port == config.chat_worker_port and config.worker_port != 0:
        faults.append("WORKER_PORT and CHAT_WORKER_PORT must differ")
    for field in ("drain_timeout_s", "lease_ttl_s", "chat_request_timeout_s", "max_job_attempts"):
        if getattr(config, field) <= 0:
            faults.append(f"{field.upper()} must be above 0")
    if config.chat_max_waiting < 0:
        faults.append("CHAT_MAX_WAITING must not be below 0")
    return faults
