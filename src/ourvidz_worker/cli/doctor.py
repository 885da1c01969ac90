"""`ourvidz-worker doctor`: looks at this machine, its settings and its services; changes nothing.

What it finds stands in the first three phases of a start, and `startup.sh` asks for these.
"""

from collections.abc import Iterator

import click
from rich.console import Console
from rich.text import Text

from ourvidz_worker.cli import checks, device_checks, model_checks, services, settings_checks
from ourvidz_worker.cli.finding import Finding, Level
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.config import Config, examine, warnings_of
from ourvidz_worker.telemetry.phases import Phase, phase_line

STYLES: dict[Level, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}

Found = tuple[Phase, list[Finding]]


@click.command()
@click.option("--phases", is_flag=True, help="A status line a phase, and only what is not well.")
@click.option(
    "--signature",
    is_flag=True,
    help="Send a signed callback that names no job: is the secret right? Changes nothing.",
)
def doctor(phases: bool, signature: bool) -> int:
    """Check everything a pod needs here; exit 1 when something fails."""
    console = Console(highlight=False, soft_wrap=True)
    failures = 0
    for phase, found in findings(signature=signature):
        if phases:
            console.print(Text(phase_line(phase, _status(found))))
        for finding in found:
            if not phases or finding.level != "ok":
                console.print(_line(finding))
        failures += _count(found, "fail")
    if failures or not phases:
        console.print(f"{failures} to mend" if failures else "a pod can run here")
    return 1 if failures else 0


def findings(*, signature: bool = False) -> Iterator[Found]:
    """Every finding, phase by phase; a bad setting stops no other check."""
    config, faults = examine()
    torch = device_checks.ask_torch()
    asked = services.check_services(config, signature=signature)
    yield Phase.ENVIRONMENT, [*_environment(config, faults, torch), *asked]
    yield Phase.MODELS, [*model_checks.check_models(config), *model_checks.check_lanes(config)]
    yield Phase.MEMORY, device_checks.check_memory(torch, config)


def _environment(config: Config, faults: list[str], torch: device_checks.Torch) -> list[Finding]:
    return [
        *checks.check_python(),
        *checks.check_libraries(),
        *device_checks.check_torch(torch, config),
        *settings_checks.check_faults(faults),
        *settings_checks.check_warnings(warnings_of(config)),
        *settings_checks.check_values(config),
        *checks.check_ports(config),
        *checks.check_state(config, SystemClock()),
    ]


def _status(found: list[Finding]) -> str:
    """How a phase went, in a few words."""
    words = {"to mend": _count(found, "fail"), "to know": _count(found, "warn")}
    return ", ".join(f"{count} {word}" for word, count in words.items() if count) or "ok"


def _count(found: list[Finding], level: Level) -> int:
    return sum(finding.level == level for finding in found)


def _line(finding: Finding) -> Text:
    cure = f"  -> {finding.cure}" if finding.cure else ""
    return Text.assemble(
        (f"{finding.level:<5}", STYLES[finding.level]), f"{finding.what}: {finding.told}{cure}"
    )
