"""Every setting, in one frozen table: its field, its variable, its default and its meaning."""

from pathlib import Path
from typing import Literal

import msgspec

from ourvidz_worker.domain.lane import START_ORDER, Lane


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: a field of `Config`, its variable, and its meaning in one line."""

    field: str
    variable: str
    meaning: str
    aliases: tuple[str, ...] = ()
    """Older names of the variable; the first name that is set wins."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a pod; the defaults are those of a fresh machine (embedded profile)."""

    state_dir: Path = Path("state")
    worker_id: str = ""
    runpod_pod_id: str = ""
    bind_host: str = "127.0.0.1"
    worker_port: int = 7860
    chat_worker_port: int = 7861
    auth_mode: Literal["compat", "required", "open"] = "compat"
    wan_worker_api_key: str = ""
    chat_worker_api_key: str = ""
    sdxl_worker_api_key: str = ""
    supabase_url: str = ""
    supabase_service_role_key: str = ""
    redis_url: str = ""
    upstash_redis_rest_url: str = ""
    upstash_redis_rest_token: str = ""
    callback_url: str = ""
    job_callback_secret: str = ""
    webhook_secrets: str = ""
    callback_progress: bool = False
    callback_url_bucket_prefix: bool = False
    worker_public_url: str = ""
    chat_worker_public_url: str = ""
    register_worker: bool = True
    register_chat_worker: bool = True
    control_plane_health_refresh: bool = True
    repair_empty_original_prompt: bool = True
    admission_policies: str = ""
    admin_queue_write: bool = False
    log_prompts: bool = False
    lanes: str = "image,chat,video"
    image_engine: str = "sdxl"
    chat_engine: str = "auto"
    video_engine: str = "wan"
    sdxl_model_path: str = ""
    wan_model_path: str = ""
    wan_vace_model_path: str = ""
    qwen_instruct_path: str = ""
    qwen_base_path: str = ""
    device: str = ""
    dtype: str = ""
    threads: int = 1
    sdxl_memory_fraction: float = 0.21
    chat_memory_fraction: float = 0.31
    wan_memory_fraction: float = 0.63
    drain_timeout_s: float = 30.0
    lease_ttl_s: float = 60.0
    max_job_attempts: int = 3
    job_timeouts: dict[str, float] = {}
    chat_request_timeout_s: float = 90.0
    chat_max_output_tokens: int = 4096
    chat_max_waiting: int = 64
    wan_max_frames: int = 161
    wan_enhancement_template: str = ""
    reference_fallback: Literal["fail", "fallback"] = "fail"
    reference_allowed_hosts: str = ""
    reference_max_bytes: int = 52_428_800
    reference_require_owner: bool = True
    device_memory_gb: float = 0.0
    start_timeout_s: float = 300.0
    chat_options: str = ""
    fake_options: str = ""


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(field=field, variable=variable, meaning=meaning, aliases=tuple(aliases))
    for field, variable, meaning, *aliases in (
        ("state_dir", "STATE_DIR", "folder of the queue, the results and the admin key"),
        ("worker_id", "WORKER_ID", "name in callbacks; default: RUNPOD_POD_ID, else host + random"),
        ("runpod_pod_id", "RUNPOD_POD_ID", "names this pod and its public addresses"),
        ("bind_host", "BIND_HOST", "address to listen on; default: 127.0.0.1, deployed 0.0.0.0"),
        ("worker_port", "WORKER_PORT", "port of the image and video side"),
        ("chat_worker_port", "CHAT_WORKER_PORT", "port of the chat side"),
        ("auth_mode", "WORKER_AUTH_MODE", "compat, required or open"),
        ("wan_worker_api_key", "WAN_WORKER_API_KEY", "key; required when deployed"),
        ("chat_worker_api_key", "CHAT_WORKER_API_KEY", "second key that is accepted"),
        ("sdxl_worker_api_key", "SDXL_WORKER_API_KEY", "third key that is accepted"),
        ("supabase_url", "SUPABASE_URL", "the application's Supabase; required when deployed"),
        (
            "supabase_service_role_key",
            "SUPABASE_SERVICE_ROLE_KEY",
            "its service key; required when deployed",
            "SUPABASE_SERVICE_KEY",
        ),
        ("redis_url", "REDIS_URL", "the application's lists over TCP (redis:// or rediss://)"),
        ("upstash_redis_rest_url", "UPSTASH_REDIS_REST_URL", "the lists over Upstash REST"),
        ("upstash_redis_rest_token", "UPSTASH_REDIS_REST_TOKEN", "its token"),
        ("callback_url", "CALLBACK_URL", "where callbacks go; deployed: the application's own"),
        ("job_callback_secret", "JOB_CALLBACK_SECRET", "signs callbacks (HMAC-SHA256)"),
        (
            "webhook_secrets",
            "OURVIDZ_WEBHOOK_SECRETS",
            "Standard Webhooks secrets, comma separated",
        ),
        ("callback_progress", "CALLBACK_PROGRESS", "tell progress by callback, at most every 15 s"),
        (
            "callback_url_bucket_prefix",
            "CALLBACK_URL_BUCKET_PREFIX",
            "name assets with the bucket before the path",
        ),
        ("worker_public_url", "WORKER_PUBLIC_URL", "public address of the image and video side"),
        ("chat_worker_public_url", "CHAT_WORKER_PUBLIC_URL", "public address of the chat side"),
        ("register_worker", "OURVIDZ_REGISTER_WORKER", "register the image and video side"),
        ("register_chat_worker", "OURVIDZ_REGISTER_CHAT_WORKER", "register the chat side"),
        (
            "control_plane_health_refresh",
            "CONTROL_PLANE_HEALTH_REFRESH",
            "ask the application every minute to look at this pod's health",
        ),
        (
            "repair_empty_original_prompt",
            "REPAIR_EMPTY_ORIGINAL_PROMPT",
            "fill the empty original prompt of a copy job's row",
        ),
        ("admission_policies", "ADMISSION_POLICIES", "further policies, module:class, by comma"),
        ("admin_queue_write", "ADMIN_QUEUE_WRITE", "let queued admin jobs change the pod's state"),
        ("log_prompts", "LOG_PROMPTS", "log prompts in full instead of length and digest"),
        ("lanes", "OURVIDZ_LANES", "lanes this pod serves, comma separated"),
        ("image_engine", "OURVIDZ_IMAGE_ENGINE", "engine of the image lane"),
        (
            "chat_engine",
            "OURVIDZ_CHAT_ENGINE",
            "auto, chat_transformers or chat_vllm; auto is vLLM on a card where it is installed",
        ),
        ("video_engine", "OURVIDZ_VIDEO_ENGINE", "engine of the video lane"),
        ("sdxl_model_path", "SDXL_MODEL_PATH", "SDXL checkpoint: folder or safetensors file"),
        ("wan_model_path", "WAN_MODEL_PATH", "Wan checkpoint folder"),
        ("wan_vace_model_path", "WAN_VACE_MODEL_PATH", "Wan VACE checkpoint folder"),
        ("qwen_instruct_path", "QWEN_INSTRUCT_PATH", "chat model folder"),
        ("qwen_base_path", "QWEN_BASE_PATH", "base model folder"),
        ("device", "OURVIDZ_DEVICE", "cpu or cuda; default: cuda when there is one"),
        ("dtype", "OURVIDZ_DTYPE", "float32 or bfloat16; default: by device"),
        ("threads", "OURVIDZ_THREADS", "CPU threads of each worker"),
        ("sdxl_memory_fraction", "SDXL_MEMORY_FRACTION", "share of the card for the image worker"),
        ("chat_memory_fraction", "CHAT_MEMORY_FRACTION", "share of the card for the chat worker"),
        ("wan_memory_fraction", "WAN_MEMORY_FRACTION", "share of the card for the video worker"),
        ("drain_timeout_s", "DRAIN_TIMEOUT_S", "how long a stopping pod lets work finish"),
        ("lease_ttl_s", "LEASE_TTL_S", "how long a job stays ours without a heartbeat"),
        ("max_job_attempts", "MAX_JOB_ATTEMPTS", "tries before a job is failed"),
        ("job_timeouts", "JOB_TIMEOUT_{TYPE}", "deadline of one job type, such as VIDEO_FAST, s"),
        ("chat_request_timeout_s", "CHAT_REQUEST_TIMEOUT_S", "deadline of one text request"),
        ("chat_max_output_tokens", "CHAT_MAX_OUTPUT_TOKENS", "largest max_tokens accepted"),
        ("chat_max_waiting", "CHAT_MAX_WAITING", "texts that may wait; more are told to come back"),
        ("wan_max_frames", "WAN_MAX_FRAMES", "longest clip accepted, frames"),
        (
            "wan_enhancement_template",
            "WAN_ENHANCEMENT_TEMPLATE",
            "file with the operator's instructions for extended prompts",
        ),
        (
            "reference_fallback",
            "REFERENCE_FALLBACK",
            "fail, or fallback: go on without a reference that cannot be used",
        ),
        ("reference_allowed_hosts", "REFERENCE_ALLOWED_HOSTS", "further hosts, comma separated"),
        ("reference_max_bytes", "REFERENCE_MAX_BYTES", "largest reference picture, bytes"),
        (
            "reference_require_owner",
            "REFERENCE_REQUIRE_OWNER",
            "refuse references that lie in another user's folder",
        ),
        (
            "device_memory_gb",
            "OURVIDZ_DEVICE_MEMORY_GB",
            "without CUDA: a simulated device of this size, GiB; 0: none",
        ),
        ("start_timeout_s", "OURVIDZ_START_TIMEOUT_S", "how long a worker may take to get ready"),
        (
            "chat_options",
            "OURVIDZ_CHAT_OPTIONS",
            'options of the chat engine, JSON object, such as {"kv_cache_gb": 4}',
        ),
        ("fake_options", "OURVIDZ_FAKE_OPTIONS", "options of the fake engine, JSON object"),
    )
)


#: The command line's own variables: a pod tolerates them and has no use for them.
CLIENT_VARIABLES: tuple[Setting, ...] = (
    Setting(field="url", variable="OURVIDZ_URL", meaning="address of the pod to talk to"),
    Setting(field="key", variable="OURVIDZ_KEY", meaning="key; default: STATE_DIR/admin.key"),
)


def is_deployed(config: Config) -> bool:
    """True in the deployment profile: an application's Supabase or its lists are configured."""
    return bool(config.supabase_url or config.redis_url or config.upstash_redis_rest_url)


def served_lanes(config: Config) -> tuple[Lane, ...]:
    """The lanes this pod serves, in the order given; a name that is no lane is left out."""
    names = [name.strip() for name in config.lanes.split(",")]
    return tuple(dict.fromkeys(Lane(name) for name in names if name in START_ORDER))
