"""The docs tell the truth: links lead somewhere, the reference is what the code says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ourvidz_worker.config import CLIENT_VARIABLES, INHERITED, SETTINGS
from ourvidz_worker.domain import errors
from ourvidz_worker.domain.errors import OurvidzError

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/**/*.md"))
    if "cache" not in page.parts
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_picture_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert not [link for link in local if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_source_path_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(
        r"`((?:domain|pod|worker|queue|engines|testing|tests|tools|bench)/[\w./]+)`", text
    )
    bases = (ROOT, ROOT / "src" / "ourvidz_worker")
    assert not [name for name in named if not any((base / name).exists() for base in bases)]


def test_the_generated_reference_is_up_to_date() -> None:
    run = subprocess.run(
        [sys.executable, "tools/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_the_readmes_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named
    assert named <= targets


def test_the_readmes_commands_are_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = sorted(set(re.findall(r"ourvidz-worker (\w+)", readme)))
    help_text = subprocess.run(
        [sys.executable, "-m", "ourvidz_worker", "--help"], capture_output=True, text=True
    ).stdout
    assert named
    assert not [name for name in named if not re.search(rf"^\s+{name}\b", help_text, re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_variable_and_code_named_exists(page: Path) -> None:
    """A name in capitals is a setting, an error's code, or the system's own."""
    rows = (*SETTINGS, *CLIENT_VARIABLES)
    known = {name for row in rows for name in (row.variable, *row.aliases)}
    known |= {*INHERITED, "PR_SET_PDEATHSIG"}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    known |= {kind.code for kind in kinds if issubclass(kind, OurvidzError)}
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", text))
    assert not sorted(named - known)


#: Every variable of the contract's table (11), with its aliases.
CONTRACT = """
SUPABASE_URL SUPABASE_SERVICE_ROLE_KEY SUPABASE_SERVICE_KEY UPSTASH_REDIS_REST_URL
UPSTASH_REDIS_REST_TOKEN REDIS_URL WAN_WORKER_API_KEY CHAT_WORKER_API_KEY SDXL_WORKER_API_KEY
JOB_CALLBACK_SECRET RUNPOD_POD_ID WORKER_PUBLIC_URL CHAT_WORKER_PUBLIC_URL WORKER_PORT
CHAT_WORKER_PORT BIND_HOST WORKER_ID WORKER_AUTH_MODE ADMISSION_POLICIES ADMIN_QUEUE_WRITE
LOG_PROMPTS REFERENCE_FALLBACK REFERENCE_ALLOWED_HOSTS REFERENCE_MAX_BYTES REFERENCE_REQUIRE_OWNER
SDXL_MODEL_PATH WAN_MODEL_PATH WAN_VACE_MODEL_PATH QWEN_INSTRUCT_PATH QWEN_BASE_PATH
SDXL_MEMORY_FRACTION CHAT_MEMORY_FRACTION WAN_MEMORY_FRACTION WAN_MAX_FRAMES
WAN_ENHANCEMENT_TEMPLATE CHAT_REQUEST_TIMEOUT_S CHAT_MAX_OUTPUT_TOKENS STATE_DIR DRAIN_TIMEOUT_S
LEASE_TTL_S MAX_JOB_ATTEMPTS CALLBACK_PROGRESS CALLBACK_URL_BUCKET_PREFIX
REPAIR_EMPTY_ORIGINAL_PROMPT CONTROL_PLANE_HEALTH_REFRESH CALLBACK_URL
"""


def test_the_settings_page_has_every_variable_of_the_contract() -> None:
    """Contract 11: the environment table, generated from the configuration."""
    table = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert not [name for name in CONTRACT.split() if f"`{name}`" not in table]
    assert "`JOB_TIMEOUT_{TYPE}`" in table
    required = re.findall(r"^\| `(\w+)` \|.*\| required \|", table, re.MULTILINE)
    assert required == ["WAN_WORKER_API_KEY", "SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"]
