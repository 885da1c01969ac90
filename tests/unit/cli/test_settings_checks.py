"""What `doctor` says of the settings: all faults at once, each with a cure, and no secret."""

import json
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from ourvidz_worker.cli.finding import Finding
from ourvidz_worker.cli.settings_checks import check_faults, check_values, check_warnings
from ourvidz_worker.config import Config, examine, warnings_of

KEY = "k" * 40
DEPLOYED = {
    "SUPABASE_URL": "https://ref.supabase.co",
    "SUPABASE_SERVICE_ROLE_KEY": KEY,
    "WAN_WORKER_API_KEY": KEY,
    "REDIS_URL": "redis://127.0.0.1",
}


def token(claims: dict[str, object]) -> str:
    """A JSON web token's shape, unsigned."""
    middle = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{middle}.signature"


def values(**settings: str) -> list[Finding]:
    config, faults = examine(DEPLOYED | settings)
    assert faults == []
    return check_values(config)


def of(found: list[Finding], what: str) -> Finding:
    (finding,) = [finding for finding in found if finding.what == what]
    assert finding.cure or finding.level == "ok"
    return finding


def test_every_missing_variable_is_named_at_once_with_its_cure() -> None:
    """O-3: a required item that is missing is in a full list."""
    _, faults = examine({"SUPABASE_URL": "https://ref.supabase.co"})
    found = check_faults(faults)
    assert [finding.what for finding in found] == [
        "REDIS_URL, or UPSTASH_REDIS_REST_URL",
        "SUPABASE_SERVICE_ROLE_KEY",
        "WAN_WORKER_API_KEY",
    ]
    assert all(finding.level == "fail" and finding.cure for finding in found)
    assert "openssl rand -hex 32" in found[2].cure


def test_wrong_variables_are_told_beside_missing_ones() -> None:
    """O-3: malformed and misspelt variables hide no missing one."""
    _, faults = examine(
        {
            "REDIS_URL": "redis://127.0.0.1",
            "WORKER_PORT": "many",
            "OURVIDZ_LNES": "image",
            "OURVIDZ_QQQQ": "1",
            "JOB_TIMEOUT_VIDEO_FAST": "soon",
        }
    )
    found = {finding.what: finding for finding in check_faults(faults)}
    assert set(found) == {
        "JOB_TIMEOUT_VIDEO_FAST",
        "OURVIDZ_LNES",
        "OURVIDZ_QQQQ",
        "SUPABASE_SERVICE_ROLE_KEY",
        "SUPABASE_URL",
        "WAN_WORKER_API_KEY",
        "WORKER_PORT",
    }
    assert found["OURVIDZ_LNES"].cure == "it may be OURVIDZ_LANES"
    assert found["OURVIDZ_QQQQ"].cure == "unset it: no setting has this name"
    assert all(finding.cure for finding in found.values())


def test_sound_settings_are_one_good_line() -> None:
    _, faults = examine(DEPLOYED)
    assert [finding.level for finding in check_faults(faults)] == ["ok"]
    assert {finding.level for finding in values()} == {"ok"}


def test_every_warning_of_a_start_has_a_cure() -> None:
    """7.1, A-2, A-3, G-1: unsigned callbacks, one key, strict mode, no public address."""
    settings = DEPLOYED | {"WORKER_AUTH_MODE": "required", "UPSTASH_REDIS_REST_URL": "https://u"}
    settings |= {"UPSTASH_REDIS_REST_TOKEN": KEY, "SUPABASE_SERVICE_KEY": "another"}
    config, _ = examine(settings)
    found = check_warnings(warnings_of(config, settings))
    assert len(found) == 6
    assert {finding.level for finding in found} == {"warn"}
    assert len({finding.cure for finding in found}) == 6


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SUPABASE_URL", "ref.supabase.co", "no plain web address"),
        ("SUPABASE_URL", "https://ref.supabase.co/rest/v1", "has a path (/rest/v1)"),
        ("SUPABASE_URL", "https://ref.supabase.co:port", "no plain web address"),
        ("WORKER_PUBLIC_URL", "https://user@pod", "no plain web address"),
        ("CHAT_WORKER_PUBLIC_URL", "https://pod?x=1", "no plain web address"),
        ("CALLBACK_URL", "https://two words", "no plain web address"),
        ("REDIS_URL", "https://name.upstash.io", "no address of a Redis server"),
        ("OURVIDZ_IMAGE_ENGINE", "flux", "no engine flux"),
        ("OURVIDZ_DEVICE", "gpu", "names no device"),
        ("OURVIDZ_DTYPE", "int8", "names no precision"),
        ("WAN_MEMORY_FRACTION", "30", "is no share"),
        ("ADMISSION_POLICIES", "nowhere:Policy", "nowhere:Policy is not found"),
        ("ADMISSION_POLICIES", "no.such.place:Policy", "is not found"),
        ("WAN_ENHANCEMENT_TEMPLATE", "/nowhere", "cannot be read"),
        ("OURVIDZ_WEBHOOK_SECRETS", "whsec_c2hvcnQ=", "24 to 64 bytes"),
        ("SUPABASE_SERVICE_ROLE_KEY", token({"role": "anon"}), "a key of the role anon"),
        ("SUPABASE_SERVICE_ROLE_KEY", f'"{KEY}"', "blanks or quotes"),
        ("JOB_CALLBACK_SECRET", f"{KEY}\n", "blanks or quotes"),
    ],
)
def test_a_value_that_cannot_work_is_a_fault(variable: str, value: str, told: str) -> None:
    finding = of(values(**{variable: value}), variable)
    assert finding.level == "fail"
    assert told in finding.told


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SUPABASE_URL", "http://ref.supabase.co", "not encrypted"),
        ("JOB_CALLBACK_SECRET", "short", "has 5 characters only"),
        ("SUPABASE_SERVICE_ROLE_KEY", "abc", "has 3 characters only"),
    ],
)
def test_a_doubtful_value_is_a_warning(variable: str, value: str, told: str) -> None:
    finding = of(values(**{variable: value}), variable)
    assert finding.level == "warn"
    assert told in finding.told


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SUPABASE_URL", "http://127.0.0.1:54321"),
        ("SUPABASE_SERVICE_ROLE_KEY", token({"role": "service_role"})),
        ("SUPABASE_SERVICE_ROLE_KEY", "sb_secret_" + "x" * 30),
        ("CALLBACK_URL", "https://app.example.com/job-callback"),
        ("ADMISSION_POLICIES", "minors, ourvidz_worker.admission.minors:MinorsPolicy"),
        ("OURVIDZ_DEVICE", "cuda:1"),
        ("REDIS_URL", "rediss://:password@host:6380/1"),
    ],
)
def test_a_good_value_is_nothing_to_tell(variable: str, value: str) -> None:
    assert {finding.level for finding in values(**{variable: value})} == {"ok"}


def test_no_secret_is_ever_shown() -> None:
    """H-4: what is said of a secret is its length and its kind."""
    secret = "s3cr3t"
    settings = DEPLOYED | {"JOB_CALLBACK_SECRET": secret, "OURVIDZ_WEBHOOK_SECRETS": secret}
    settings |= {"SUPABASE_SERVICE_ROLE_KEY": secret, "REDIS_URL": f"http://:{secret}@host"}
    settings |= {"WAN_WORKER_API_KEY": f"'{secret}'", "SUPABASE_URL": f"https://x:{secret}@host"}
    config, faults = examine(settings)
    found = [*check_faults(faults), *check_warnings(warnings_of(config)), *check_values(config)]
    assert not [finding for finding in found if secret in finding.told + finding.cure]


def test_an_operators_template_that_can_be_read_is_well(tmp_path: Path) -> None:
    file = tmp_path / "template.txt"
    file.write_text("Say more: ")
    assert {finding.level for finding in values(WAN_ENHANCEMENT_TEMPLATE=str(file))} == {"ok"}


def test_an_embedded_pod_has_nothing_to_hide() -> None:
    assert check_values(Config()) == []
