"""`ourvidz-worker doctor`: looks at this machine and its settings, changes nothing."""

from collections.abc import Callable, Iterator

import click
from rich.console import Console
from rich.text import Text

from ourvidz_worker.cli import checks
from ourvidz_worker.cli.checks import Finding, Level
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.config import Config, read_config
from ourvidz_worker.domain.errors import ConfigError

STYLES: dict[Level, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
def doctor() -> int:
    """Check everything a pod needs here; exit 1 when something fails."""
    console = Console(highlight=False, soft_wrap=True)
    failures = 0
    for finding in findings():
        console.print(_line(finding))
        failures += finding.level == "fail"
    console.print(f"{failures} to mend" if failures else "a pod can run here")
    return 1 if failures else 0


def findings() -> Iterator[Finding]:
    """Every finding, one check after another; a bad configuration is one of them."""
    yield from checks.check_python()
    yield from checks.check_libraries()
    try:
        config = read_config()
    except ConfigError as error:
        cure = "correct the variables named"
        yield Finding(level="fail", what="settings", told=error.sentence, cure=cure)
        config = Config()
    else:
        yield Finding(level="ok", what="settings", told="all are known and well-formed")
    for check in _of(config):
        yield from check()


def _of(config: Config) -> list[Callable[[], list[Finding]]]:
    return [
        lambda: checks.check_models(config),
        checks.check_small_models,
        lambda: checks.check_ports(config),
        lambda: checks.check_state(config, SystemClock()),
    ]


def _line(finding: Finding) -> Text:
    cure = f"  -> {finding.cure}" if finding.cure else ""
    return Text.assemble(
        (f"{finding.level:<5}", STYLES[finding.level]), f"{finding.what}: {finding.told}{cure}"
    )
