"""Where a pod's jobs come from and its results go: this machine, or the application's services."""

import random
from pathlib import Path

from ourvidz_worker.clock import Clock
from ourvidz_worker.config import Config, served_lanes
from ourvidz_worker.queue import QueueSettings, Store, make_queue
from ourvidz_worker.references import Patience, References
from ourvidz_worker.references.fetch import UrlFetcher
from ourvidz_worker.rows import Rows, RowsSettings, make_rows
from ourvidz_worker.storage import Storage, StorageSettings, make_storage


def queue_of(config: Config, state: Path, clock: Clock, *, worker_id: str) -> Store:
    """The application's lists where they are configured, else a file in the state folder."""
    name, url = "sqlite", ""
    if config.redis_url:
        name, url = "redis", config.redis_url
    elif config.upstash_redis_rest_url:
        name, url = "upstash", config.upstash_redis_rest_url
    settings = QueueSettings(
        state_dir=state,
        max_tries=config.max_job_attempts,
        url=url,
        token=config.upstash_redis_rest_token,
        worker_id=worker_id,
        lanes=served_lanes(config),
    )
    return make_queue(name, settings, clock)


def storage_of(config: Config, state: Path, clock: Clock) -> Storage:
    """The application's storage where it has one, else a folder below the state's."""
    name = "supabase" if config.supabase_url else "local"
    settings = StorageSettings(
        root=state / "storage", url=config.supabase_url, key=config.supabase_service_role_key
    )
    return make_storage(name, settings, clock)


def rows_of(config: Config, clock: Clock) -> Rows:
    """The application's rows where it has some."""
    settings = RowsSettings(
        url=config.supabase_url,
        key=config.supabase_service_role_key,
        repairs=config.repair_empty_original_prompt,
    )
    return make_rows("supabase" if config.supabase_url else "none", settings, clock)


def urls_of(config: Config, clock: Clock) -> UrlFetcher | None:
    """Fetches pictures from the application's host and the hosts allowed; None without any."""
    hosts = [host.strip() for host in config.reference_allowed_hosts.split(",") if host.strip()]
    if not (hosts or config.supabase_url):
        return None
    return UrlFetcher(
        clock,
        max_bytes=config.reference_max_bytes,
        jitter=random.random,
        home=config.supabase_url or None,
        allowed_hosts=hosts,
    )


def references_of(
    config: Config, storage: Storage, urls: UrlFetcher | None, clock: Clock
) -> References:
    """Pictures from the storage, and by URL where there is anything to fetch from."""
    return References(
        storage,
        max_bytes=config.reference_max_bytes,
        urls=urls,
        require_owner=config.reference_require_owner,
        patience=Patience(clock, random.random),
    )


def secrets_of(config: Config) -> tuple[str, ...]:
    """Every configured key, for the log to leave out."""
    return (
        config.wan_worker_api_key,
        config.chat_worker_api_key,
        config.sdxl_worker_api_key,
        config.supabase_service_role_key,
        config.upstash_redis_rest_token,
        config.job_callback_secret,
        config.redis_url,
        *config.webhook_secrets.split(","),
    )
