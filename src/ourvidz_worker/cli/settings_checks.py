"""What `doctor` says of the settings: every fault and every doubt, each with its cure.

Nothing here shows a secret; what is said of one is its length and its kind.
"""

import re
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from ourvidz_worker.admission import POLICIES
from ourvidz_worker.callbacks import read_webhook_secret
from ourvidz_worker.cli.access import is_local
from ourvidz_worker.cli.finding import Finding, fault, warning, well
from ourvidz_worker.config import PREFIX, SETTINGS, Config, is_deployed
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.engines import ENGINES

SHORT_SECRET = 16
"""Characters; below this a secret can be guessed."""

SHORT_SERVICE_KEY = 20
"""Characters; every kind of service key is longer."""

RANDOM_KEY = "`openssl rand -hex 32` makes one"

#: Variable, or the start of a warning, to what to do about it.
CURES: dict[str, str] = {
    "SUPABASE_URL": "set the application's address, https://REF.supabase.co",
    "SUPABASE_SERVICE_ROLE_KEY": "set the service_role key of the application's project",
    "WAN_WORKER_API_KEY": f"set the key that the application's functions send; {RANDOM_KEY}",
    "REDIS_URL, or UPSTASH_REDIS_REST_URL": "set one of them to the application's lists",
    "UPSTASH_REDIS_REST_TOKEN": "set the token that Upstash shows beside the address",
    "JOB_CALLBACK_SECRET": "set the value of the same name in the application's secrets",
    "only one worker key": "set CHAT_WORKER_API_KEY to the application's own, where it has one",
    "WORKER_AUTH_MODE": "leave it at compat while functions of the application send no key",
    "REDIS_URL and": "leave out the one that is not meant",
    "no public address": "set WORKER_PUBLIC_URL and CHAT_WORKER_PUBLIC_URL, or RUNPOD_POD_ID",
    "OURVIDZ_LANES": "name lanes by comma, such as image,chat,video",
    "WORKER_PORT and": "give one of them another port",
}

DEVICES = re.compile(r"auto|cpu|cuda(:\d+)?")
DTYPES = ("auto", "float32", "bfloat16", "float16")


def check_faults(faults: list[str]) -> list[Finding]:
    """Every fault of the configuration, one finding each; one good line when there is none."""
    if not faults:
        return [well("settings", "all are known and well-formed")]
    return [_of_fault(told) for told in faults]


def check_warnings(warnings: tuple[str, ...]) -> list[Finding]:
    """What a start is warned of, with the cure."""
    return [
        warning("settings", told, _cure(told) or "let both names have the same value")
        for told in warnings
    ]


def check_values(config: Config) -> list[Finding]:
    """Values that are well-formed and still cannot work."""
    return [*_urls(config), *_secrets(config), *_names(config), *_files(config)]


def _of_fault(told: str) -> Finding:
    name = re.match(r"[A-Z][A-Z_0-9{}]*(, or [A-Z_]+)?(?=:| is| must)", told)
    what = name.group() if name else "settings"
    said = told.removeprefix(what).lstrip(": ") or told
    return fault(what, said, _cure(told) or _spelling(what, said))


def _cure(told: str) -> str:
    """The cure of the longest known beginning."""
    known = [start for start in CURES if told.startswith(start)]
    return CURES[max(known, key=len)] if known else ""


def _spelling(name: str, told: str) -> str:
    """The cure of a misspelt or malformed variable."""
    if told != "is unknown":
        return "correct its value, or unset it"
    stems = [row.variable.removeprefix(PREFIX) for row in SETTINGS if PREFIX in row.variable]
    close = get_close_matches(name.removeprefix(PREFIX), stems, n=1)
    return f"it may be {PREFIX}{close[0]}" if close else "unset it: no setting has this name"


def _urls(config: Config) -> list[Finding]:
    web = {
        "SUPABASE_URL": config.supabase_url,
        "UPSTASH_REDIS_REST_URL": config.upstash_redis_rest_url,
        "WORKER_PUBLIC_URL": config.worker_public_url,
        "CHAT_WORKER_PUBLIC_URL": config.chat_worker_public_url,
        "CALLBACK_URL": config.callback_url,
    }
    found = [_web_url(variable, url) for variable, url in web.items() if url]
    if config.redis_url and _parts(config.redis_url, ("redis", "rediss")) is None:
        cure = "write redis://HOST:PORT, or rediss:// with TLS"
        found.append(fault("REDIS_URL", "is no address of a Redis server", cure))
    return [finding for finding in found if finding is not None]


def _web_url(variable: str, url: str) -> Finding | None:
    parts = _parts(url, ("http", "https"))
    if parts is None or parts.query or parts.fragment or parts.username:
        return fault(variable, "is no plain web address", "write https://HOST, and nothing more")
    if variable != "CALLBACK_URL" and parts.path.strip("/"):
        return fault(variable, f"has a path ({parts.path})", "write https://HOST, without a path")
    if parts.scheme == "http" and not is_local(url):
        return warning(variable, "is not encrypted", "write https://")
    return None


def _parts(url: str, schemes: tuple[str, ...]) -> SplitResult | None:
    """The parts of a sound address; None for any other text."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if sound and not re.search(r"\s", url) else None


def _secrets(config: Config) -> list[Finding]:
    secrets = {
        "WAN_WORKER_API_KEY": config.wan_worker_api_key,
        "CHAT_WORKER_API_KEY": config.chat_worker_api_key,
        "SDXL_WORKER_API_KEY": config.sdxl_worker_api_key,
        "JOB_CALLBACK_SECRET": config.job_callback_secret,
        "UPSTASH_REDIS_REST_TOKEN": config.upstash_redis_rest_token,
        "SUPABASE_SERVICE_ROLE_KEY": config.supabase_service_role_key,
    }
    found = [
        finding for name, value in secrets.items() if value for finding in _secret(name, value)
    ]
    if not found and is_deployed(config):
        found = [well("secrets", "those that are set are of plausible length")]
    return [*found, *_webhook_secrets(config)]


def _secret(variable: str, value: str) -> list[Finding]:
    if value != value.strip() or value[:1] in {'"', "'"}:
        return [fault(variable, "has blanks or quotes around it", "take them away")]
    is_service_key = variable == "SUPABASE_SERVICE_ROLE_KEY"
    if len(value) < (SHORT_SERVICE_KEY if is_service_key else SHORT_SECRET):
        cure = CURES[variable] if is_service_key else f"take a longer one; {RANDOM_KEY}"
        return [warning(variable, f"has {len(value)} characters only", cure)]
    role = _role_of(value) if is_service_key else None
    if role not in {None, "service_role"}:
        return [fault(variable, f"is a key of the role {role}", CURES[variable])]
    return []


def _role_of(key: str) -> str | None:
    """The role that a JSON web token names; None for a key of another kind."""
    pieces = key.split(".")
    try:
        claims = urlsafe_b64decode(pieces[1] + "=" * (-len(pieces[1]) % 4))
        return msgspec.json.decode(claims, type=dict[str, object]).get("role", "none")  # type: ignore[return-value]
    except (IndexError, Base64Error, ValueError, msgspec.MsgspecError):
        return None


def _webhook_secrets(config: Config) -> list[Finding]:
    texts = [text.strip() for text in config.webhook_secrets.split(",") if text.strip()]
    try:
        for text in texts:
            read_webhook_secret(text)
    except ConfigError as error:
        cure = "write whsec_ and 24 to 64 bytes in base64"
        return [fault("OURVIDZ_WEBHOOK_SECRETS", error.sentence, cure)]
    return []


def _names(config: Config) -> list[Finding]:
    engines = {
        "OURVIDZ_IMAGE_ENGINE": config.image_engine,
        "OURVIDZ_CHAT_ENGINE": config.chat_engine,
        "OURVIDZ_VIDEO_ENGINE": config.video_engine,
    }
    known = ", ".join(sorted(ENGINES))
    found = [
        fault(variable, f"there is no engine {name}", f"write one of {known}")
        for variable, name in engines.items()
        if name not in ENGINES and (variable, name) != ("OURVIDZ_CHAT_ENGINE", "auto")
    ]
    if config.device and not DEVICES.fullmatch(config.device):
        found.append(fault("OURVIDZ_DEVICE", "names no device", "write cpu, cuda or cuda:NUMBER"))
    if config.dtype and config.dtype not in DTYPES:
        found.append(fault("OURVIDZ_DTYPE", "names no precision", f"write one of {DTYPES[1:]}"))
    return [*found, *_fractions(config), *_policies(config)]


def _fractions(config: Config) -> list[Finding]:
    fractions = {
        "SDXL_MEMORY_FRACTION": config.sdxl_memory_fraction,
        "CHAT_MEMORY_FRACTION": config.chat_memory_fraction,
        "WAN_MEMORY_FRACTION": config.wan_memory_fraction,
    }
    cure = "write a share of the card above 0, at most 1"
    return [
        fault(variable, f"{share:g} is no share", cure)
        for variable, share in fractions.items()
        if not 0 < share <= 1
    ]


def _policies(config: Config) -> list[Finding]:
    cure = "write module:class of a module that can be imported"
    names = [name.strip() for name in config.admission_policies.split(",") if name.strip()]
    return [
        fault("ADMISSION_POLICIES", f"{name} is not found", cure)
        for name in names
        if name not in POLICIES and not _is_importable(name)
    ]


def _is_importable(name: str) -> bool:
    module, _, attribute = name.partition(":")
    try:
        return bool(attribute) and find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _files(config: Config) -> list[Finding]:
    template = config.wan_enhancement_template
    if not template:
        return []
    try:
        Path(template).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        cure = "let it name a text file, or unset it"
        return [fault("WAN_ENHANCEMENT_TEMPLATE", "cannot be read", cure)]
    return []
